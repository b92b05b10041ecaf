// Package base holds the targets in the namespace base.
package base

import (
	"context"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Show prints a base's version, kernel and systemd, and the free space in its /usr.
//
// BASE is a reference base or one of Flatcar's releases: a version, a channel, an address or a file. ARCH is its architecture.
func Show(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return show.Base(ctx, o, show.To(o))
	})
}
