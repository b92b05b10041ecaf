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

// VerifyFile checks a payload and prints a summary. The signature is only checked if a key is given.
// If a directory is given, the content of NAME.gz is extracted to it: NAME.bin and NAME.vmlinuz of an update, NAME.raw of an
// extension. The files appear only if the payload is valid.
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
		fmt.Fprintf(out, "signed  by the given key of %d bits\n", key.N.BitLen())
	case p.Signed():
		fmt.Fprintln(out, "signed  not checked; set KEY to the public key")
	default:
		fmt.Fprintln(out, "not signed")
	}
}
