package release

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/ship/sysupdate"
)

// Names in a release directory, as Flatcar's update servers and clients have them.
const (
	updateFile    = "flatcar_production_update.gz"
	updateKeyFile = "update-payload-key.pub.pem" // in /usr/share/update_engine of machines that trust it
	payloadSuffix = ".gz"                        // which payloads have, though they are not gzip
	sumSuffix     = ".sha256"
)

func (w *workshop) openUpdateKey() (err error) {
	files := w.Update
	files.Cache = w.Cache
	if w.updateKey, err = sign.Open(files); err != nil {
		return fmt.Errorf("UPDATE_KEY, UPDATE_SIGNATURES: %w", err)
	}
	return w.openTrustedKey()
}

// addUpdates adds the update payload of the OS, and one of each platform's tools: machines that keep an image on their
// OEM partition take the next one from there, and refuse to update without it.
func (w *workshop) addUpdates(ctx context.Context, m *manifest.Manifest, staged []oem.Staged, plan fitted) error {
	if w.updateKey.Development() && w.trustedKey == nil {
		w.Log.Warn("no UPDATE_KEY: payloads are signed with a development key of this cache, which no machine trusts unless " + updateKeyFile + " is put there")
	}
	usr, kernel := m.File(partitionFile).Installed(), m.File(kernelFile).Installed()
	if limit := w.layout.Payload.Bytes; usr.Size > limit {
		return fmt.Errorf("the partition has %v, and machines take %v; see %s", usr.Size, limit, layoutsFile)
	}
	m.Payloads = []manifest.Payload{{File: updateFile, Image: usr, Kernel: &kernel}}
	for i, s := range staged {
		image := plan.whole[i]
		m.Payloads = append(m.Payloads, manifest.Payload{
			File: s.Platform.Image() + payloadSuffix, Platform: s.Platform.ID.Value,
			Image: manifest.Installed{Size: image.Size, SHA256: image.SHA256}, Rung: &image.Rung,
		})
		// The same image as it is, for machines that take it from where the release is published.
		m.Add(manifest.File{Name: sysupdate.ImageName(s.Platform.Image(), m), Size: image.Size, SHA256: image.SHA256})
	}
	for _, p := range m.Payloads {
		err := w.addPayload(ctx, m, p)
		if missing := (*sign.MissingError)(nil); errors.As(err, &missing) {
			continue // all that are missing are asked for at once
		}
		if err != nil {
			return err
		}
	}
	if err := w.updateKey.Finish(); err != nil {
		return err
	}
	public, err := sign.EncodePublic(w.updateKey.Public())
	if err != nil {
		return err
	}
	return w.addFile(m, updateKeyFile, bytes.NewReader(public))
}

// addPayload makes, signs and keeps one payload, and the sum that update servers have beside it.
func (w *workshop) addPayload(ctx context.Context, m *manifest.Manifest, p manifest.Payload) error {
	body, err := w.payloadBody(ctx, p)
	if err != nil {
		return fmt.Errorf("%s: %w", p.File, err)
	}
	signatures, err := payload.Signatures(ctx, w.updateKey, p.File, body.SHA256)
	if err != nil {
		return err
	}
	signed, err := store.Memo(ctx, w.results, "signed", []any{body.SHA256, signatures}, blobs, func() (manifest.Installed, error) {
		f, err := os.Open(w.blobs.Path(body.SHA256))
		if err != nil {
			return manifest.Installed{}, err
		}
		defer f.Close()
		d, n, err := w.blobs.Add(io.MultiReader(f, bytes.NewReader(signatures)))
		return manifest.Installed{Size: size.Bytes(n), SHA256: d}, err
	})
	if err != nil {
		return err
	}
	m.Add(manifest.File{Name: p.File, Size: signed.Size, SHA256: signed.SHA256})
	return w.addFile(m, p.File+sumSuffix, strings.NewReader(fmt.Sprintf("%v  %s\n", signed.SHA256, p.File)))
}

func blobs(i manifest.Installed) []store.Blob {
	return []store.Blob{{SHA256: i.SHA256, Size: int64(i.Size)}}
}

// payloadBody makes a payload but for its signatures, which are the only part that depends on the key, its length apart.
func (w *workshop) payloadBody(ctx context.Context, p manifest.Payload) (manifest.Installed, error) {
	key := w.updateKey.Public()
	inputs := []any{payload.Version, p.Image, p.Kernel, key.Size(), w.tools.Versions(payload.Tools...), compressorVersion()}
	return store.Memo(ctx, w.results, "payload", inputs, blobs, func() (made manifest.Installed, err error) {
		step := w.Progress.Bytes(p.File, int64(p.Image.Size))
		defer step.End()
		image, err := os.Open(w.blobs.Path(p.Image.SHA256))
		if err != nil {
			return made, err
		}
		defer image.Close()
		var kernel *payload.Source
		if p.Kernel != nil {
			f, err := os.Open(w.blobs.Path(p.Kernel.SHA256))
			if err != nil {
				return made, err
			}
			defer f.Close()
			kernel = &payload.Source{Data: f, Size: p.Kernel.Size}
			step.Grow(int64(p.Kernel.Size))
		}
		writer := payload.Writer{
			Compress: payload.Compressor{Tools: w.tools, Scratch: w.scratch.Dir}.Compress,
			Scratch:  w.scratch.Dir, Jobs: w.Jobs, Done: step.Add,
		}
		out, err := os.CreateTemp(w.scratch.Dir, "payload.")
		if err != nil {
			return made, err
		}
		defer os.Remove(out.Name()) // gone already when all went well
		written, err := writer.Write(ctx, out, key, payload.Source{Data: image, Size: p.Image.Size}, kernel)
		if err == nil && written.Image.SHA256 != p.Image.SHA256 {
			err = w.blobs.CopyTo(io.Discard, p.Image.SHA256) // which says and removes what is damaged
		}
		if err == nil && p.Kernel != nil && written.Kernel.SHA256 != p.Kernel.SHA256 {
			err = w.blobs.CopyTo(io.Discard, p.Kernel.SHA256)
		}
		if err = errors.Join(err, out.Close()); err != nil {
			return made, err
		}
		d, n, err := w.blobs.AddFile(out.Name())
		return manifest.Installed{Size: size.Bytes(n), SHA256: d}, err
	})
}

func (w *workshop) addFile(m *manifest.Manifest, name string, content io.Reader) error {
	d, n, err := w.blobs.Add(content)
	m.Add(manifest.File{Name: name, Size: size.Bytes(n), SHA256: d})
	return err
}

// VerifyPayload checks a payload, with a key when there is one, and writes what it installs to a directory when one is named.
func VerifyPayload(ctx context.Context, path, keyFile, dir string, out io.Writer) error {
	var key *rsa.PublicKey
	if keyFile != "" {
		var err error
		if key, err = sign.ReadPublic(keyFile); err != nil {
			return fmt.Errorf("KEY: %w", err)
		}
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return payload.VerifyFile(ctx, path, key, dir, out)
}
