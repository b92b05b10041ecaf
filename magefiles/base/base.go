// Package base holds the targets in the namespace base.
package base

import (
	"context"
	"os"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Show prints what a base is and what room its partition has.
//
// BASE is a reference base or one of Flatcar's releases: a version, a channel, an address or a file. ARCH is its architecture.
func Show(ctx context.Context) error {
	return target.With(func(o setup.Options) error {
		return show.Base(ctx, o, os.Stdout)
	})
}
