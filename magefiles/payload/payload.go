// Package payload holds the targets in the namespace payload.
package payload

import (
	"context"

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
	return target.With(func(o setup.Options) error {
		return ship.VerifyPayload(ctx, file, o.Proof.PublicKey, o.Proof.Out, target.Out())
	})
}
