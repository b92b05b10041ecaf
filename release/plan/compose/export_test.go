package compose

import (
	"context"

	"github.com/flatcar/oem-sysext/release/profiles"
)

// One reads and checks one extension.
func (c *Composer) One(ctx context.Context, x *profiles.Extension) error {
	_, err := c.one(ctx, x)
	return err
}

// Clash returns the problem if the base has an extension of that name.
func (c *Composer) Clash(name string) string { return c.clash(name) }
