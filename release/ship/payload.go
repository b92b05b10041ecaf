package ship

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload"
	"github.com/flatcar/oem-sysext/release/format/payload/chunks"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/sysupdate"
)

// File suffixes of Flatcar's update servers and clients.
const (
	payloadSuffix = ".gz" // of payloads, although they are not gzip
	sumSuffix     = ".sha256"
)

// addUpdates adds the update payload of the OS and one of each platform's tools, for machines that still keep their tools on
// the OEM partition and refuse an update that does not ship them.
func (s *Shipper) addUpdates(ctx context.Context, m *manifest.Manifest, planned *plan.Planned) error {
	if s.Keys.Update.Development() && s.Keys.Trusted == nil {
		s.Bench.Log.Warn("no UPDATE_KEY: payloads are signed with the cache's development key, which machines trust only after installing " + manifest.UpdateKeyFile + "")
	}
	usr, kernel := m.File(manifest.PartitionFile).Installed(), m.File(manifest.KernelFile).Installed()
	m.Payloads = []manifest.Payload{{File: manifest.UpdateFile, Image: usr, Kernel: &kernel}}
	for i, staged := range planned.Staged {
		image := planned.Whole[i]
		p := manifest.Payload{
			File: staged.Platform.Image() + payloadSuffix, Platform: staged.Platform.ID.Value,
			Image: manifest.Installed{Size: image.Size, SHA256: image.SHA256},
		}
		if image.Rung != (rung.Rung{}) {
			p.Rung = &image.Rung
		}
		m.Payloads = append(m.Payloads, p)
		// The bare image, for machines that download it from the published release.
		m.Add(manifest.File{Name: sysupdate.ImageName(staged.Platform.Image(), m), Size: image.Size, SHA256: image.SHA256})
	}
	var made []error
	for _, p := range m.Payloads {
		made = append(made, s.addPayload(ctx, m, p))
	}
	for _, r := range s.Choice.DeltaFrom {
		made = append(made, s.addDelta(ctx, m, r))
	}
	for _, err := range made {
		if missing := (*sign.MissingError)(nil); err != nil && !errors.As(err, &missing) {
			return err // the missing signatures are one request
		}
	}
	if err := s.Keys.Update.Finish(); err != nil {
		return err
	}
	public, err := sign.EncodePublic(s.Keys.Update.Public())
	if err != nil {
		return err
	}
	return s.addFile(m, manifest.UpdateKeyFile, bytes.NewReader(public))
}

// addPayload makes and signs one payload.
func (s *Shipper) addPayload(ctx context.Context, m *manifest.Manifest, p manifest.Payload) error {
	body, err := s.payloadBody(ctx, p)
	if err != nil {
		return fmt.Errorf("%s: %w", p.File, err)
	}
	signed, err := s.sign(ctx, p.File, body)
	if err != nil {
		return err
	}
	return s.addSigned(m, p.File, signed)
}

// addSigned adds a payload, and the file with its sum that update servers keep beside it.
func (s *Shipper) addSigned(m *manifest.Manifest, name string, signed manifest.Installed) error {
	m.Add(manifest.File{Name: name, Size: signed.Size, SHA256: signed.SHA256})
	return s.addFile(m, name+sumSuffix, bytes.NewReader(sums.Line(signed.SHA256, name)))
}

// sign returns a payload with its signatures.
func (s *Shipper) sign(ctx context.Context, name string, body manifest.Installed) (manifest.Installed, error) {
	signatures, err := payload.Signatures(ctx, s.Keys.Update, name, body.SHA256)
	if err != nil {
		return manifest.Installed{}, err
	}
	return store.Memo(ctx, s.Bench.Results.Step("signed", []any{body.SHA256, signatures}), setup.Blobs, func() (manifest.Installed, error) {
		f, err := os.Open(s.Bench.Blobs.Path(body.SHA256))
		if err != nil {
			return manifest.Installed{}, err
		}
		defer f.Close()
		d, n, err := s.Bench.Blobs.Add(io.MultiReader(f, bytes.NewReader(signatures)))
		return manifest.Installed{Size: size.Bytes(n), SHA256: d}, err
	})
}

// payloadBody makes a payload without its signatures, so that it depends only on the length of the key.
func (s *Shipper) payloadBody(ctx context.Context, p manifest.Payload) (manifest.Installed, error) {
	key := s.Keys.Update.Public()
	inputs := []any{payload.Version, p.Image, p.Kernel, key.Size(), s.Bench.Tools.Versions(chunks.Tools...), partition.ZstdVersion()}
	return store.Memo(ctx, s.Bench.Results.Step("payload", inputs), setup.Blobs, func() (made manifest.Installed, err error) {
		step := s.Bench.Progress.Bytes(p.File, int64(p.Image.Size))
		defer step.End()
		image, err := os.Open(s.Bench.Blobs.Path(p.Image.SHA256))
		if err != nil {
			return made, err
		}
		defer image.Close()
		var kernel *payload.Source
		if p.Kernel != nil {
			f, err := os.Open(s.Bench.Blobs.Path(p.Kernel.SHA256))
			if err != nil {
				return made, err
			}
			defer f.Close()
			kernel = &payload.Source{Data: f, Size: p.Kernel.Size}
			step.Grow(int64(p.Kernel.Size))
		}
		return s.intoBlobs(func(out io.Writer) error {
			written, err := s.payloadWriter(step.Add).Write(ctx, out, key, payload.Source{Data: image, Size: p.Image.Size}, kernel)
			if err == nil && written.Image.SHA256 != p.Image.SHA256 {
				err = s.Bench.Blobs.CopyTo(io.Discard, p.Image.SHA256) // reports and removes a damaged blob
			}
			if err == nil && p.Kernel != nil && written.Kernel.SHA256 != p.Kernel.SHA256 {
				err = s.Bench.Blobs.CopyTo(io.Discard, p.Kernel.SHA256)
			}
			return err
		})
	})
}

func (s *Shipper) payloadWriter(done func(bytes int64)) *payload.Writer {
	compressor := chunks.Compressor{Tools: s.Bench.Tools, Scratch: s.Bench.Scratch}
	kept := keptChunks{compressor.Compress, s.Bench.Tools.Versions(chunks.Tools...), s.Bench.Blobs, s.Bench.Results}
	return &payload.Writer{
		Compress: kept.Compress,
		Scratch:  s.Bench.Scratch, Jobs: s.Bench.Jobs, Done: done,
	}
}

// intoBlobs adds what write writes to the blobs.
func (s *Shipper) intoBlobs(write func(out io.Writer) error) (manifest.Installed, error) {
	out, err := os.CreateTemp(s.Bench.Scratch, "payload.")
	if err != nil {
		return manifest.Installed{}, err
	}
	defer os.Remove(out.Name()) // moved to the blobs on success
	if err := errors.Join(write(out), out.Close()); err != nil {
		return manifest.Installed{}, err
	}
	d, n, err := s.Bench.Blobs.AddFile(out.Name())
	return manifest.Installed{Size: size.Bytes(n), SHA256: d}, err
}

func (s *Shipper) addFile(m *manifest.Manifest, name string, content io.Reader) error {
	d, n, err := s.Bench.Blobs.Add(content)
	m.Add(manifest.File{Name: name, Size: size.Bytes(n), SHA256: d})
	return err
}

// VerifyPayload checks a payload, with its signature if a key is given, and extracts it if a directory is given.
func VerifyPayload(ctx context.Context, path, keyFile, dir string, out io.Writer) error {
	key, err := readKey(keyFile)
	if err != nil {
		return err
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return payload.VerifyFile(ctx, path, key, dir, out)
}

// readKey reads a public key; none where there is no file.
func readKey(file string) (*rsa.PublicKey, error) {
	if file == "" {
		return nil, nil
	}
	key, err := sign.ReadPublic(file)
	if err != nil {
		err = fmt.Errorf("KEY: %w", err)
	}
	return key, err
}
