package early

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/release/format/initramfs"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/plan/early/initrd"
	"github.com/flatcar/oem-sysext/release/setup"
)

// The forms of a platform's initramfs image, by suffix.
const (
	SystemdForm = ".initrd.cpio.zst" // to append to a systemd initramfs
	PXEForm     = ".pxe.cpio.gz"     // to pass to Flatcar's kernel for a network boot
	ImageForm   = ".sysext.raw"      // to put beside a unified kernel image
	StubForm    = ".sysext.cpio"     // the archive that systemd-stub makes of that
)

// FileOf returns the file of a form, or one without a name.
func FileOf(i manifest.Initrd, suffix string) manifest.File {
	n := slices.IndexFunc(i.Files, func(f manifest.File) bool { return strings.HasSuffix(f.Name, suffix) })
	if n < 0 {
		return manifest.File{}
	}
	return i.Files[n]
}

// Largest returns the largest file of a form: each machine loads one.
func Largest(made []manifest.Initrd, suffix string) manifest.File {
	var largest manifest.File
	for _, i := range made {
		if f := FileOf(i, suffix); f.Size > largest.Size {
			largest = f
		}
	}
	return largest
}

// form is one archive around an image.
type form struct {
	suffix string
	packed initramfs.Compression
	inputs any // apart from the image
	write  func(io.Writer, initrd.Image) error
}

// forms returns the archives around a platform's image.
func (m *Maker) forms(p *platform.Platform) ([]form, error) {
	forms := []form{
		{PXEForm, initramfs.Gzip, []any{p.ID.Value, p.Name, m.Base.Version}, func(out io.Writer, i initrd.Image) error {
			return initrd.PXE(out, initrd.OEM{ID: p.ID.Value, Name: p.Name, Version: m.Base.Version}, i, m.Base.Epoch)
		}},
		{StubForm, initramfs.None, nil, initrd.Stub},
	}
	if m.Host == nil || TwoStages(m.Base) {
		m.Bench.Log.Info("no archive to append to an initramfs: this base would not merge an appended image", "platform", p.ID)
		return forms, nil
	}
	enabling, err := m.Enabling(p)
	if err != nil {
		return nil, err
	}
	files, err := m.Host.Enable(enabling, m.BaseFile)
	if err != nil {
		return nil, err
	}
	files = append(files, m.Trust.Files("usr/")...)
	return append(forms, form{SystemdForm, initramfs.Zstd, files, func(out io.Writer, i initrd.Image) error {
		return initrd.Systemd(out, i, files, m.Base.Epoch)
	}}), nil
}

// writeForm adds an archive to the blobs.
func (m *Maker) writeForm(ctx context.Context, name string, f form, image pack.Image) (manifest.File, error) {
	inputs := []any{name, f.suffix, f.inputs, image.SHA256, m.Base.Epoch.Unix(), partition.ZstdVersion()}
	made, err := store.Memo(ctx, m.Bench.Results.Step("initrd", inputs), setup.Blobs, func() (made manifest.Installed, err error) {
		content, err := os.Open(m.Bench.Blobs.Path(image.SHA256))
		if err != nil {
			return made, err
		}
		defer content.Close()
		path := filepath.Join(m.Bench.Scratch, name+f.suffix)
		defer os.Remove(path) // moved to the blobs on success
		err = atomicfile.Write(path, 0o644, func(out io.Writer) error {
			return f.to(out, initrd.Image{Name: name, Size: int64(image.Size), Content: content})
		})
		if err != nil {
			return made, err
		}
		d, n, err := m.Bench.Blobs.AddFile(path)
		return manifest.Installed{Size: size.Bytes(n), SHA256: d}, err
	})
	return manifest.File{Name: name + f.suffix, Size: made.Size, SHA256: made.SHA256}, err
}

func (f form) to(out io.Writer, image initrd.Image) error {
	packed, err := f.packed.NewWriter(out)
	if err != nil {
		return err
	}
	return errors.Join(f.write(packed, image), packed.Close())
}
