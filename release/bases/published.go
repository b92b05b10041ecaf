package bases

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/setup"
)

// updateKeyPath is where a release of Flatcar has the key that its payloads are signed with, relative to /usr.
const updateKeyPath = "share/update_engine/" + manifest.UpdateKeyFile

// Published is an image that Flatcar published with the base.
type Published struct {
	Image  manifest.Installed // a blob
	Input  input.Input        // the file that it came in
	Signed bool               // with Flatcar's key or the base's; the image may have a signature of its own
}

// Published finds the image with a name, such as oem-azure: NAME.raw beside the base, or the one in NAME.gz, an update payload that is
// signed with the key in the base's /usr.
func (b *Base) Published(ctx context.Context, bench *setup.Bench, name string) (Published, error) {
	if b.Name.IsReference() {
		return Published{}, fmt.Errorf("no image was published with the reference base %s; set BASE to a release of Flatcar", b.ID)
	}
	found, err := b.flatcar.Published(ctx, b.Name.Release, b.Version, name+".raw")
	if errors.Is(err, fetch.ErrNotFound) {
		return b.fromPayload(ctx, bench, name)
	}
	if err != nil {
		return Published{}, err
	}
	image, err := addBlob(bench.Blobs, found)
	return Published{image, b.input(name+".raw", found.SHA256), found.Signed}, err
}

func (b *Base) input(name string, d digest.SHA256) input.Input {
	return input.Input{Kind: "flatcar", Name: name, Version: b.Version, Digest: "sha256:" + d.String()}
}

// addBlob adds a file to the blobs. It must be what it was when it was proven.
func addBlob(blobs *store.Blobs, f flatcar.Published) (manifest.Installed, error) {
	content, err := os.Open(f.Path)
	if err != nil {
		return manifest.Installed{}, err
	}
	defer content.Close()
	d, n, err := blobs.Add(content)
	if err == nil && d != f.SHA256 {
		err = fmt.Errorf("%s changed while it was read", f.Path)
	}
	return manifest.Installed{Size: size.Bytes(n), SHA256: d}, err
}

// fromPayload returns the image in a payload.
func (b *Base) fromPayload(ctx context.Context, bench *setup.Bench, name string) (Published, error) {
	key, err := sign.ReadPublic(filepath.Join(b.Usr, updateKeyPath))
	if err != nil {
		return Published{}, fmt.Errorf("neither %s.raw with a signature was published with the base, nor can a payload be verified: the base's update key: %w", name, err)
	}
	proof := fmt.Sprint(key.N, key.E)
	found, err := b.flatcar.Payload(ctx, b.Name.Release, b.Version, name+".gz", proof, func(path string) error {
		return payload.VerifyFile(ctx, path, key, "", io.Discard)
	})
	if errors.Is(err, fetch.ErrNotFound) {
		return Published{}, fmt.Errorf("was not published with the base: there is neither %s.raw with a signature, nor %s.gz", name, name)
	}
	if err != nil {
		return Published{}, err
	}
	image, err := store.Memo(ctx, bench.Results.Step("image in payload", []any{found.SHA256, proof}), setup.Blobs, func() (manifest.Installed, error) {
		return extract(ctx, bench, found.Path, key)
	})
	return Published{image, b.input(name+".gz", found.SHA256), true}, err
}

// extract adds the image in a payload to the blobs.
func extract(ctx context.Context, bench *setup.Bench, path string, key *rsa.PublicKey) (manifest.Installed, error) {
	dir, err := os.MkdirTemp(bench.Scratch, "payload.")
	if err != nil {
		return manifest.Installed{}, err
	}
	defer os.RemoveAll(dir)
	if err := payload.VerifyFile(ctx, path, key, dir, io.Discard); err != nil {
		return manifest.Installed{}, err
	}
	image := filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".gz")+".raw")
	d, n, err := bench.Blobs.AddFile(image)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%s has a kernel in it; wanted a payload with one extension image", filepath.Base(path))
	}
	return manifest.Installed{Size: size.Bytes(n), SHA256: d}, err
}

// Certificates are those by which the base's machines verify signed images.
func (b *Base) Certificates() ([]*x509.Certificate, error) {
	files, err := filepath.Glob(filepath.Join(b.Usr, "lib/verity.d/*.crt"))
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for _, file := range files {
		certificate, err := sign.ReadCertificate(file)
		if err != nil {
			return nil, fmt.Errorf("the base's /usr/lib/verity.d/%s: %w", filepath.Base(file), err)
		}
		all = append(all, certificate)
	}
	return all, nil
}
