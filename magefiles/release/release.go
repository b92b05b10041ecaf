// Package release holds the targets in the namespace release.
package release

import (
	"context"
	"fmt"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release/prove/doctor"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
)

// Install installs a release into the inactive slot of a disk, as Flatcar's updater would.
//
// The argument is a disk image, or the disk of a machine. VERSION, ARCH and OUTPUT choose the release,
// made by scripts/mage release. It boots next, for one try; the active slot does not change.
func Install(ctx context.Context, disk string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		slot, err := ship.Install(ctx, o, disk)
		if err == nil {
			fmt.Printf("%s is in slot %s, which boots next, for one try\n", o.Dir(), slot.Name)
		}
		return err
	})
}

// Slots shows the slots of a disk and which one boots next.
//
// The argument is a disk image, or the disk of a machine. It is only read.
func Slots(ctx context.Context, disk string) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error { return show.Slots(show.To(o), disk) })
}

// Doctor tells what an update to a release does to a machine, by its disk: which state it is in, what will be merged, and what is in the way.
//
// The argument is a disk image in raw format, or the disk of a machine. It is only read; ext4 and btrfs are known.
// VERSION, ARCH and OUTPUT choose the release.
func Doctor(ctx context.Context, disk string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		found, err := doctor.Examine(ctx, o, disk)
		if err != nil {
			return err
		}
		return show.Doctor(show.To(o), found)
	})
}
