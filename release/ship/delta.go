package ship

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload"
	"github.com/flatcar/oem-sysext/release/format/payload/chunks"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/setup"
)

// bootable is what boots of a release: its partition and its kernel, as files that should have these digests.
type bootable struct {
	files         payload.Files
	image, kernel manifest.Installed
}

// bootableIn returns what boots of a release in a directory.
func bootableIn(r setup.Release) bootable {
	return bootable{
		payload.Files{Image: filepath.Join(r.Dir, manifest.PartitionFile), Kernel: filepath.Join(r.Dir, manifest.KernelFile)},
		r.File(manifest.PartitionFile).Installed(), r.File(manifest.KernelFile).Installed(),
	}
}

// check compares the files with the digests.
func (b bootable) check() error {
	var wrong []error
	for path, want := range map[string]manifest.Installed{b.files.Image: b.image, b.files.Kernel: b.kernel} {
		got, _, err := digest.OfFile(path)
		if err == nil && got != want.SHA256 {
			err = fmt.Errorf("%s has sha256 %v; the manifest says %v; make or fetch the release again", path, got, want.SHA256)
		}
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// addDelta adds the payload for machines of an earlier release, which has only what is new, and the file with its sum.
func (s *Shipper) addDelta(ctx context.Context, m *manifest.Manifest, r setup.Release) error {
	if r.Version == m.Version {
		return fmt.Errorf("DELTA_FROM: %s is release %s, as the new one; wanted an earlier one, since a machine does not update to its own version", r.Dir, r.Version)
	}
	if err := sameArch(r.Manifest, m); err != nil {
		return fmt.Errorf("DELTA_FROM: %w", err)
	}
	from := bootableIn(r)
	usr, kernel := m.File(manifest.PartitionFile).Installed(), m.File(manifest.KernelFile).Installed()
	to := bootable{payload.Files{Image: s.Bench.Blobs.Path(usr.SHA256), Kernel: s.Bench.Blobs.Path(kernel.SHA256)}, usr, kernel}
	d := manifest.Delta{File: manifest.DeltaFile(r.Version), From: r.Version, Image: from.image, Kernel: from.kernel}
	if m.File(d.File) != (manifest.File{}) {
		return fmt.Errorf("DELTA_FROM: %s is a second release %s; wanted one of each version", r.Dir, r.Version)
	}
	signed, err := s.delta(ctx, d.File, from, to)
	if err != nil {
		return err
	}
	m.Deltas = append(m.Deltas, d)
	return s.addSigned(m, d.File, signed)
}

// sameArch refuses releases between which no machine can be updated.
func sameArch(from, to *manifest.Manifest) error {
	if from.Arch != to.Arch {
		return fmt.Errorf("release %s is for %s, %s is for %s; wanted the same architecture", from.Version, from.Arch, to.Version, to.Arch)
	}
	return nil
}

// delta makes and signs the payload that leads from one release to another. It applies what it has made: a payload that does
// not lead there is an error, and is not kept.
func (s *Shipper) delta(ctx context.Context, name string, from, to bootable) (signed manifest.Installed, err error) {
	key := s.Keys.Update.Public()
	inputs := []any{
		payload.DeltaVersion, payload.Version, from.image, from.kernel, to.image, to.kernel, key.Size(),
		s.Bench.Tools.Versions(chunks.Tools...), partition.ZstdVersion(),
	}
	body, err := store.Memo(ctx, s.Bench.Results.Step("delta", inputs), setup.Blobs, func() (manifest.Installed, error) {
		step := s.Bench.Progress.Bytes(name, 0)
		defer step.End()
		return s.intoBlobs(func(out io.Writer) error { return s.writeDelta(ctx, out, step.Add, from, to) })
	})
	if err != nil {
		return body, fmt.Errorf("%s: %w", name, err)
	}
	if signed, err = s.sign(ctx, name, body); err != nil {
		return signed, err
	}
	_, err = store.Memo(ctx, s.Bench.Results.Step("applied", []any{signed.SHA256, from.image, from.kernel}), store.Nothing, func() (bool, error) {
		dir, err := os.MkdirTemp(s.Bench.Scratch, "applied.")
		if err != nil {
			return false, err
		}
		defer os.RemoveAll(dir)
		result := payload.Files{Image: filepath.Join(dir, manifest.PartitionFile), Kernel: filepath.Join(dir, manifest.KernelFile)}
		return true, payload.ApplyFile(ctx, s.Bench.Blobs.Path(signed.SHA256), key, from.files, result, io.Discard)
	})
	if err != nil {
		err = fmt.Errorf("%s does not lead from one release to the other: %w", name, err)
	}
	return signed, err
}

func (s *Shipper) writeDelta(ctx context.Context, out io.Writer, done func(bytes int64), from, to bootable) error {
	if err := errors.Join(from.check(), to.check()); err != nil {
		return err
	}
	old, err := from.files.Open()
	if err != nil {
		return err
	}
	defer old.Close()
	made, err := to.files.Open()
	if err != nil {
		return err
	}
	defer made.Close()
	_, err = s.payloadWriter(done).WriteDelta(ctx, out, s.Keys.Update.Public(), old.Installed, made.Installed)
	return err
}

// WriteDelta writes the payload that leads from one finished release to another, and its sum beside it, to the directory that the
// options say. Both releases are directories. It returns the payload's path.
func WriteDelta(ctx context.Context, o setup.Options, oldDir, newDir string) (string, error) {
	from, err := setup.ReadRelease(oldDir)
	if err != nil {
		return "", err
	}
	to, err := setup.ReadRelease(newDir)
	if err != nil {
		return "", err
	}
	if err := sameArch(from.Manifest, to.Manifest); err != nil {
		return "", err
	}
	choice, err := setup.Choose(o)
	if err != nil {
		return "", err
	}
	bench, err := setup.Open(ctx, o)
	if err != nil {
		return "", err
	}
	defer bench.Close()
	keys, err := setup.OpenKeys(o, choice.Profile, bench.CacheDir)
	if err != nil {
		return "", err
	}
	out := cmp.Or(o.Proof.Out, ".")
	s := &Shipper{Bench: bench, Keys: keys}
	name := manifest.DeltaFile(from.Version)
	signed, err := s.delta(ctx, name, bootableIn(from), bootableIn(to))
	if err := errors.Join(keys.Update.Finish(), err); err != nil {
		return "", err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(out, name)
	if err := WriteBlob(bench.Blobs, path, signed.SHA256); err != nil {
		return "", err
	}
	return path, atomicfile.WriteBytes(path+sumSuffix, 0o644, sums.Line(signed.SHA256, name))
}

// ApplyDelta makes of the release in a directory what a payload leads to, and writes its partition and kernel to another directory.
// The signature is checked if a key is given.
func ApplyDelta(ctx context.Context, oldDir, path, dir, keyFile string, out io.Writer) error {
	key, err := readKey(keyFile)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	at := func(dir string) payload.Files {
		return payload.Files{Image: filepath.Join(dir, manifest.PartitionFile), Kernel: filepath.Join(dir, manifest.KernelFile)}
	}
	return payload.ApplyFile(ctx, path, key, at(oldDir), at(dir), out)
}
