package compose

import (
	"context"

	"github.com/flatcar/oem-sysext/release/profiles"
)

// One reads and judges one extension.
func (c *Composer) One(ctx context.Context, x *profiles.Extension) error {
	_, err := c.one(ctx, x)
	return err
}

// Clash says whether the base has an extension of a name.
func (c *Composer) Clash(name string) string { return c.clash(name) }
