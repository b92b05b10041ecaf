package payload

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// VerifyFile checks a payload and prints a summary. The signature is only checked if a key is given.
// If a directory is given, the content of NAME.gz is extracted to it: NAME.bin and NAME.vmlinuz of an update, NAME.raw of an
// extension. The files appear only if the payload is valid. A delta has no content of its own.
func VerifyFile(ctx context.Context, path string, key *rsa.PublicKey, dir string, out io.Writer) error {
	return withFile(ctx, path, key, out, func(p *Payload) error {
		switch {
		case !p.IsDelta():
			return p.writeBack(ctx, dir, strings.TrimSuffix(filepath.Base(path), ".gz"))
		case dir != "":
			return errors.New("this update has only what another release has not; payload:apply makes the new one, from the old one's directory")
		}
		return p.checkData(ctx)
	})
}

// ApplyFile applies a delta to the partition and the kernel of an old release and writes the new ones, once they are right.
// The signature is only checked if a key is given.
func ApplyFile(ctx context.Context, path string, key *rsa.PublicKey, from, to Files, out io.Writer) error {
	return withFile(ctx, path, key, out, func(p *Payload) error {
		old, err := from.Open()
		if err != nil {
			return err
		}
		defer old.Close()
		return atomicfile.Create(to.Image, 0o644, func(image *os.File) error {
			return atomicfile.Create(to.Kernel, 0o644, func(kernel *os.File) error { return p.Apply(ctx, old.Installed, image, kernel) })
		})
	})
}

// Files are the paths of a release's partition and kernel.
type Files struct{ Image, Kernel string }

// Opened are files that are open.
type Opened struct {
	Installed
	files []*os.File
}

// Open opens both files.
func (f Files) Open() (*Opened, error) {
	var o Opened
	if err := errors.Join(o.open(f.Image, &o.Image), o.open(f.Kernel, &o.Kernel)); err != nil {
		o.Close()
		return nil, err
	}
	return &o, nil
}

func (o *Opened) open(path string, to *Source) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	o.files = append(o.files, f)
	info, err := f.Stat()
	if err == nil {
		*to = Source{f, size.Bytes(info.Size())}
	}
	return err
}

// Close closes both files, which were only read.
func (o *Opened) Close() {
	for _, f := range o.files {
		f.Close()
	}
}

// withFile reads a payload, checks its signature if a key is given, and prints a summary if use has nothing against it.
func withFile(ctx context.Context, path string, key *rsa.PublicKey, out io.Writer, use func(*Payload) error) error {
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
		err = use(p)
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
	if p.IsDelta() {
		var moved, sent uint64
		for _, o := range p.manifest.partition {
			moved += total(o.from)
			sent += total(o.to) - total(o.from)
		}
		fmt.Fprintf(out, "from    kernel with sha256 %v, on which %d blocks of the image are moved and %d are replaced\n", p.From.SHA256, moved, sent)
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
