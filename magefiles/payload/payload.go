// Package payload holds the targets in the namespace payload.
package payload

import (
	"context"
	"fmt"

	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
)

// Verify checks all digests of an update payload and, with KEY, its signature.
//
// The argument is a payload, such as flatcar_production_update.gz or oem-azure.gz, of this project or another one.
// KEY is a PEM file with the public key to check the signature; without it the signature is not checked.
// OUT is a directory for the payload's content: NAME.bin and NAME.vmlinuz, or NAME.raw.
func Verify(ctx context.Context, file string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return ship.VerifyPayload(ctx, file, o.Proof.PublicKey, o.Proof.Out, target.Out())
	})
}

// Apply makes of an old release what a delta leads to, as machines do.
//
// The arguments are the directory of the old release, with its usr.bin and vmlinuz; the payload, such as
// flatcar_production_update-from-9998.0.0.gz; and a directory for the new usr.bin and vmlinuz. Files that are there are replaced, once
// the new ones have the digests that the payload says. KEY is as for payload:verify.
func Apply(ctx context.Context, old, delta, out string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return ship.ApplyDelta(ctx, old, delta, out, o.Proof.PublicKey, target.Out())
	})
}

// Delta makes the update payload from one finished release to another, with only what has changed.
//
// The arguments are the directories of the old and of the new release. UPDATE_KEY signs, as for release. The payload and its sum are
// written to OUT, or to the current directory.
func Delta(ctx context.Context, old, updated string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		path, err := ship.WriteDelta(ctx, o, old, updated)
		if err == nil {
			fmt.Fprintln(target.Out(), path)
		}
		return err
	})
}
