// Package signed makes extension images in their final form: bare, or with dm-verity hashes and a signature.
package signed

import (
	"context"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Image is an image in its final form, with its signed root hash, or bare without one.
type Image struct {
	pack.Image
	RootHash digest.SHA256
}

// Maker makes final images for an architecture.
type Maker struct {
	Bench *setup.Bench
	Arch  arch.Arch
}

// Image signs a packed image, or leaves it bare when there is no key.
func (m Maker) Image(ctx context.Context, name string, packed pack.Image, key *sign.Signer) (Image, error) {
	if key == nil {
		return Image{Image: packed}, nil
	}
	names := func(i Image) []store.Blob { return []store.Blob{{SHA256: i.SHA256, Size: int64(i.Size)}} }
	inputs := []any{packed, m.Arch, key.Certificate().Raw}
	return store.Memo(ctx, m.Bench.Results.Step("signed image", inputs), names, func() (Image, error) {
		return m.write(ctx, name, packed, key)
	})
}

func (m Maker) write(ctx context.Context, name string, packed pack.Image, key *sign.Signer) (Image, error) {
	data, err := os.Open(m.Bench.Blobs.Path(packed.SHA256))
	if err != nil {
		return Image{}, err
	}
	defer data.Close()
	dir, err := os.MkdirTemp(m.Bench.Scratch, "signed.")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "image")
	root, err := ddi.Write(ctx, path, ddi.Image{
		Name: name + ".raw", Data: data, Size: int64(packed.Size), SHA256: packed.SHA256, Arch: m.Arch,
	}, key)
	if err != nil {
		return Image{}, err
	}
	d, n, err := m.Bench.Blobs.AddFile(path)
	return Image{pack.Image{SHA256: d, Size: size.Bytes(n), Rung: packed.Rung}, root}, err
}
