package release

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// ImageKind is how an extension image lies on disk.
type ImageKind string

// The kinds. Flatcar's own images are signed since it has systemd 258.
const (
	BareImages   ImageKind = "bare"   // a file system
	SignedImages ImageKind = "signed" // a file system, its dm-verity hashes and their signature (DDI)
)

// signingSystemd is the first version of systemd on Flatcar that comes with signed images.
const signingSystemd = 258

// imageKind returns the kind that was asked for, or the one that fits the base.
func (w *workshop) imageKind() (ImageKind, error) {
	switch w.Kind {
	case BareImages, SignedImages:
		return w.Kind, nil
	case "":
	default:
		return "", fmt.Errorf("IMAGES=%s; wanted %s or %s", w.Kind, BareImages, SignedImages)
	}
	version, err := w.systemdVersion()
	if err != nil {
		return "", fmt.Errorf("%w; IMAGES says whether its images are to be %s or %s", err, BareImages, SignedImages)
	}
	if version < signingSystemd {
		return BareImages, nil
	}
	return SignedImages, nil
}

// systemdVersion returns the first number of the version of the base's systemd.
func (w *workshop) systemdVersion() (int, error) {
	digits := len(w.base.Systemd) - len(strings.TrimLeft(w.base.Systemd, "0123456789"))
	version, err := strconv.Atoi(w.base.Systemd[:digits])
	if err != nil {
		return 0, fmt.Errorf("base %s has systemd %q, which is no version", w.base.ID, w.base.Systemd)
	}
	return version, nil
}

// openImageKey opens what images are signed with, where they are to be signed.
func (w *workshop) openImageKey() error {
	kind, err := w.imageKind()
	if err != nil || kind == BareImages {
		return err
	}
	files := w.Extensions
	files.Cache = w.Cache
	if w.imageKey, err = sign.Open(files); err != nil {
		return fmt.Errorf("SYSEXT_KEY, SYSEXT_CERTIFICATE, SYSEXT_SIGNATURES: %w", err)
	}
	if w.imageKey.Certificate() == nil {
		return errors.New("SYSEXT_KEY has no certificate, which machines need to verify images; SYSEXT_CERTIFICATE names one")
	}
	if w.imageKey.Development() {
		w.Log.Warn("no SYSEXT_KEY: images are signed with a development key of this cache")
	}
	// What an image takes of /usr is measured before there may be a signature by a key that is elsewhere.
	w.measureKey, err = sign.Open(sign.Files{Cache: w.Cache})
	return err
}

// onDisk is an image as machines get it, and the root hash that is signed; without one it is bare.
type onDisk struct {
	pack.Image
	RootHash digest.SHA256
}

// signImage makes a signed image of a packed one, where images are to be signed. The key is one of the workshop's.
func (w *workshop) signImage(ctx context.Context, name string, packed pack.Image, key *sign.Signer) (onDisk, error) {
	if key == nil {
		return onDisk{Image: packed}, nil
	}
	names := func(i onDisk) []store.Blob { return []store.Blob{{SHA256: i.SHA256, Size: int64(i.Size)}} }
	inputs := []any{packed, w.Arch, key.Certificate().Raw}
	return store.Memo(ctx, w.results, "signed image", inputs, names, func() (onDisk, error) {
		data, err := os.Open(w.blobs.Path(packed.SHA256))
		if err != nil {
			return onDisk{}, err
		}
		defer data.Close()
		dir, err := os.MkdirTemp(w.scratch.Dir, "signed.")
		if err != nil {
			return onDisk{}, err
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "image")
		root, err := ddi.Write(ctx, path, ddi.Image{
			Name: name + ".raw", Data: data, Size: int64(packed.Size), SHA256: packed.SHA256, Arch: w.Arch,
		}, key)
		if err != nil {
			return onDisk{}, err
		}
		d, n, err := w.blobs.AddFile(path)
		return onDisk{pack.Image{SHA256: d, Size: size.Bytes(n), Rung: packed.Rung}, root}, err
	})
}

// Certificates of ours and of extensions that came with a signature, relative to /usr.
const (
	certificatePrefix = "lib/verity.d/oem-sysext"
	certificateFile   = certificatePrefix + ".crt"
)

// certificates are the files by which machines verify images: one signed image without its certificate stops the whole merge.
// In the initramfs they are for systemd before 260, which does not look below the root file system that it merges for.
func (w *workshop) certificates(below string) []embed.File {
	var files []embed.File
	add := func(path string, certificate *x509.Certificate) {
		files = append(files, embed.File{Path: below + path, Mode: 0o644, Content: sign.EncodeCertificate(certificate)})
	}
	if w.imageKey != nil {
		add(certificateFile, w.imageKey.Certificate())
	}
	for _, x := range w.extensions {
		if x.Trusted != nil {
			add(certificatePrefix+"-"+x.Name.Value+"-"+digest.Of(x.Trusted.Raw).Short()+".crt", x.Trusted)
		}
	}
	return files
}
