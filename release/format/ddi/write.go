package ddi

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"os"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/format/verity"
)

// Signer signs with the key of a certificate: RSA PKCS #1 v1.5.
type Signer interface {
	Certificate() *x509.Certificate
	Sign(ctx context.Context, name string, d digest.SHA256) ([]byte, error)
}

// Image is the input of a signed image.
type Image struct {
	Name   string      // shown to the signer, such as oem-azure.raw
	Data   io.ReaderAt // a file system
	Size   int64       // a multiple of 4096 B
	SHA256 digest.SHA256
	Arch   arch.Arch
}

// Write makes a signed image at a path and returns its root hash. If the signer fails, as when the signature must be made
// elsewhere first, nothing is written and the signer's error is returned.
func Write(ctx context.Context, path string, image Image, signer Signer) (root digest.SHA256, err error) {
	if signer.Certificate() == nil {
		return root, fmt.Errorf("%s: no certificate for the signing key; wanted one", image.Name)
	}
	if image.Size <= 0 || image.Size%verity.BlockSize != 0 {
		return root, fmt.Errorf("%s has %d B; wanted a multiple of %d B", image.Name, image.Size, verity.BlockSize)
	}
	err = atomicfile.Create(path, 0o644, func(f *os.File) error {
		root, err = write(ctx, f, image, signer)
		return err
	})
	return root, err
}

func write(ctx context.Context, disk *os.File, image Image, signer Signer) (root digest.SHA256, err error) {
	blocks := uint64(image.Size / verity.BlockSize)
	// The root hash only changes identifiers, so all offsets are known without it.
	table, sectors, err := layout(image.SHA256, image.SHA256, image.Arch, blocks)
	if err != nil {
		return root, err
	}
	if err := disk.Truncate(int64(sectors) * gpt.SectorSize); err != nil {
		return root, err
	}
	parts := table.Partitions()
	if err := copyData(ctx, io.NewOffsetWriter(disk, parts[0].Offset()), image); err != nil {
		return root, err
	}
	salt := digest.Of(append([]byte("salt"), image.SHA256[:]...))
	root, err = verity.Format(ctx, image.Data, disk, parts[1].Offset(), verity.Params{
		DataBlocks: blocks, Salt: salt[:], UUID: derived(image.SHA256, "verity"),
	})
	if err != nil {
		return root, err
	}
	signed, err := makeRecord(ctx, image.Name, root, signer)
	if err != nil {
		return root, err
	}
	if _, err := disk.WriteAt(signed, parts[2].Offset()); err != nil {
		return root, err
	}
	if table, _, err = layout(root, image.SHA256, image.Arch, blocks); err != nil {
		return root, err
	}
	if _, err := disk.WriteAt(table.ProtectiveMBR(), 0); err != nil {
		return root, err
	}
	return root, table.Write(disk)
}

// copyData copies in pieces, so that it can be cancelled, and checks the digest, from which salt and identifiers are derived.
func copyData(ctx context.Context, to io.Writer, image Image) error {
	from := io.NewSectionReader(image.Data, 0, image.Size)
	got, _, err := digest.OfReader(io.TeeReader(from, contextWriter{ctx, to}))
	if err == nil && got != image.SHA256 {
		err = fmt.Errorf("%s has the sha256 %v; wanted %v", image.Name, got, image.SHA256)
	}
	return err
}

type contextWriter struct {
	ctx context.Context
	io.Writer
}

func (w contextWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}
