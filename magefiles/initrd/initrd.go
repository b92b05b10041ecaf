// Package initrd holds the targets in the namespace initrd.
package initrd

import (
	"context"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/plan/early"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Platform makes the initramfs images of one platform, in all forms.
//
// The argument is the platform's id, such as qemu; its file must have initrd:. They go to _output/initrd/ARCH.
func Platform(ctx context.Context, id string) error {
	return target.For(ctx, id, func(ctx context.Context, o setup.Options) error {
		made, err := release.Initrd(ctx, o)
		if err != nil {
			return err
		}
		return show.Initrds(show.To(o), made)
	})
}

// List shows the archives in an initramfs, their contents, and the first kernel rule that they break.
//
// The argument is an initramfs as boot loaders pass it to a kernel: concatenated archives, compressed or not.
// It is only read.
func List(file string) error { return foreign.Error(early.List(file, target.Out())) }
