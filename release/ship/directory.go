// Package ship makes the release directory from a plan and its partition: kernel and disk image, update payloads, the
// manifest and the documents made from it, and the sums of all files.
package ship

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/sparse"
	"github.com/flatcar/oem-sysext/oem/host/stamp"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/report"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// Shipper makes release directories.
type Shipper struct {
	Bench    *setup.Bench
	Choice   *setup.Choice
	Base     *bases.Base
	Keys     *setup.Keys
	Checkout string // whose commit the release names, unless there is Source
	Source   *manifest.Source
	Output   string // directory of all releases
	Releases string // base address of published releases
}

// Write makes the release directory. A correct directory is left alone; any other one is replaced as a whole once the new one
// is complete.
func (s *Shipper) Write(ctx context.Context, m *manifest.Manifest, dir string) (err error) {
	extra, err := s.ownFiles(m)
	if err != nil {
		return err
	}
	stamps := stamp.Open(filepath.Join(s.Bench.CacheDir, "stamps.json"))
	defer func() { err = errors.Join(err, stamps.Save()) }()
	if isComplete(dir, m, extra, stamps) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	scratch, err := store.OpenScratch(filepath.Join(s.Output, ".scratch"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	temp := filepath.Join(scratch.Dir, "new")
	if err := os.Mkdir(temp, 0o755); err != nil {
		return err
	}
	if err := s.fill(ctx, temp, m, extra); err != nil {
		return err
	}
	if err := swap(temp, dir); err != nil {
		return err
	}
	return remember(dir, m, stamps)
}

// remember records the digests of written files, so that the next run need not read them.
func remember(dir string, m *manifest.Manifest, stamps *stamp.Stamps) error {
	for _, f := range m.Files {
		if err := stamps.Set(filepath.Join(dir, f.Name), f.SHA256); err != nil {
			return err
		}
	}
	return nil
}

// ownFiles returns the files made from the manifest: the manifest, the reports, and the sums of everything.
func (s *Shipper) ownFiles(m *manifest.Manifest) (map[string][]byte, error) {
	encoded, err := m.Encode()
	if err != nil {
		return nil, err
	}
	var page, markdown bytes.Buffer
	if err := errors.Join(report.HTML(&page, m, s.Choice.Previous), report.Markdown(&markdown, m, s.Choice.Previous)); err != nil {
		return nil, err
	}
	own, err := documents(m, s.Releases)
	if err != nil {
		return nil, err
	}
	own[manifest.FileName], own[manifest.ReportFile], own[manifest.ReportMarkdownFile] = encoded, page.Bytes(), markdown.Bytes()
	all := map[string]digest.SHA256{}
	for name, content := range own {
		all[name] = digest.Of(content)
	}
	for _, f := range m.Files {
		all[f.Name] = f.SHA256
	}
	own[sums.FileName] = sums.Format(all)
	return own, nil
}

// isComplete reports whether a directory holds exactly the release, byte for byte.
func isComplete(dir string, m *manifest.Manifest, extra map[string][]byte, stamps *stamp.Stamps) bool {
	entries, err := os.ReadDir(dir)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return verify.IsLater(e.Name()) })
	if err != nil || len(entries) != len(m.Files)+len(extra) {
		return false
	}
	for name, content := range extra {
		if name == sums.FileName {
			if !hasSums(dir, content) {
				return false
			}
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && name == manifest.ReportFile {
			got, err = report.WithProofs(got, nil)
		}
		if err != nil || string(got) != string(content) {
			return false
		}
	}
	for _, f := range m.Files {
		if d, err := stamps.Digest(filepath.Join(dir, f.Name)); err != nil || d != f.SHA256 {
			return false
		}
	}
	return true
}

func (s *Shipper) fill(ctx context.Context, dir string, m *manifest.Manifest, extra map[string][]byte) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := WriteBlob(s.Bench.Blobs, filepath.Join(dir, f.Name), f.SHA256); err != nil {
			return err
		}
	}
	for name, content := range extra {
		if err := atomicfile.WriteBytes(filepath.Join(dir, name), 0o644, content); err != nil {
			return err
		}
	}
	return nil
}

// WriteBlob writes a blob to a file.
func WriteBlob(blobs *store.Blobs, path string, d digest.SHA256) error {
	return atomicfile.Create(path, 0o644, func(f *os.File) error {
		out := sparse.NewWriter(f)
		return errors.Join(blobs.CopyTo(out, d), out.Close())
	})
}

// swap puts a new directory in the place of an old one, atomically if there is an old one, which then has the path of the
// new one.
func swap(temp, dir string) error {
	err := os.Rename(temp, dir)
	if !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
}

// WriteImages writes only the images, and leaves correct ones alone.
func WriteImages(blobs *store.Blobs, dir string, images []oem.Image) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, image := range images {
		path := filepath.Join(dir, image.Platform.Image()+".raw")
		if d, _, err := digest.OfFile(path); err == nil && d == image.SHA256 {
			continue
		}
		if err := WriteBlob(blobs, path, image.SHA256); err != nil {
			return err
		}
	}
	return nil
}
