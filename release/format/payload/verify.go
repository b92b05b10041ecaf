package payload

import (
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
)

// VerifyFile checks everything in a payload and says what it is. The signature is only checked with a key.
// With a directory it writes back what the payload installs: NAME.bin and NAME.vmlinuz of an update, NAME.raw of
// an extension, where the payload is NAME.gz. They appear when all is right, or not at all.
func VerifyFile(ctx context.Context, path string, key *rsa.PublicKey, dir string, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p, err := Read(f, info.Size())
	if err == nil && key != nil {
		err = p.VerifySignature(ctx, key)
	}
	if err == nil {
		err = p.writeBack(ctx, dir, strings.TrimSuffix(filepath.Base(path), ".gz"))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p.print(out, key)
	return nil
}

func (p *Payload) writeBack(ctx context.Context, dir, name string) error {
	if dir == "" {
		return p.Extract(ctx, io.Discard, io.Discard)
	}
	base := filepath.Join(dir, name)
	if p.Kernel.Size == 0 {
		return atomicfile.Write(base+".raw", 0o644, func(image io.Writer) error { return p.Extract(ctx, image, io.Discard) })
	}
	return atomicfile.Write(base+".bin", 0o644, func(image io.Writer) error {
		return atomicfile.Write(base+".vmlinuz", 0o644, func(kernel io.Writer) error { return p.Extract(ctx, image, kernel) })
	})
}

func (p *Payload) print(out io.Writer, key *rsa.PublicKey) {
	fmt.Fprintf(out, "image   %d B, sha256 %v\n", p.Image.Size, p.Image.SHA256)
	if p.Kernel.Size > 0 {
		fmt.Fprintf(out, "kernel  %d B, sha256 %v\n", p.Kernel.Size, p.Kernel.SHA256)
	}
	switch {
	case key != nil:
		fmt.Fprintf(out, "signed  with the key of %d bits that was given\n", key.N.BitLen())
	case p.Signed():
		fmt.Fprintln(out, "signed  by a key that was not given, so the signature was not checked")
	default:
		fmt.Fprintln(out, "not signed")
	}
}
