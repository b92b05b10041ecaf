package release

import (
	"context"
	"crypto/rsa"
	"io"
	"os"

	"github.com/flatcar/oem-sysext/release/payload"
	"github.com/flatcar/oem-sysext/release/sign"
)

// VerifyPayload checks a payload, with a key when there is one, and writes what it installs to a directory when one is named.
func VerifyPayload(ctx context.Context, path, keyFile, dir string, out io.Writer) error {
	var key *rsa.PublicKey
	if keyFile != "" {
		var err error
		if key, err = sign.ReadPublic(keyFile); err != nil {
			return err
		}
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return payload.VerifyFile(ctx, path, key, dir, out)
}
