package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/squashfs"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/partition/integrate"
	"github.com/flatcar/oem-sysext/release/setup"
)

// SecondStage is the second-stage initramfs in /usr; zero when there is none.
type SecondStage struct {
	SHA256 digest.SHA256
	Size   int64
	Grown  size.Bytes // compared with the base's own
}

func (s SecondStage) blobs() []store.Blob {
	if s == (SecondStage{}) {
		return nil
	}
	return []store.Blob{{SHA256: s.SHA256, Size: s.Size}}
}

// files returns the second stage as a file for the partition.
func (s SecondStage) files() []embed.File {
	if s == (SecondStage{}) {
		return nil
	}
	return append(activate.SystemAfterInitrd(), embed.File{Path: activate.SecondStage, Mode: 0o644, Blob: s.SHA256})
}

// Grown returns by how many bytes the content enlarges the second stage of a partition.
func (c Content) Grown(ctx context.Context, bench *setup.Bench, b *bases.Base, on Partition) (size.Bytes, error) {
	stage, err := c.secondStage(ctx, bench, b, on)
	return stage.Grown, err
}

// secondStage returns a partition's second stage with what the content adds to it.
func (c Content) secondStage(ctx context.Context, bench *setup.Bench, b *bases.Base, on Partition) (SecondStage, error) {
	added := slices.Concat(activate.Initrd(), c.Trust.Files("usr/"), c.Early)
	inputs := []any{on.SHA256, added, b.Epoch.Unix(), bench.Tools.Versions(squashfs.Tools...), c.Integrate, integrate.AfterIgnition.Lines}
	return store.Memo(ctx, bench.Results.Step("second-stage", inputs), SecondStage.blobs, func() (s SecondStage, err error) {
		dir, err := os.MkdirTemp(bench.Scratch, "stage.")
		if err != nil {
			return s, err
		}
		defer os.RemoveAll(dir)
		from, to := filepath.Join(dir, "from.img"), filepath.Join(dir, "to.img")
		found, err := copyOut(ctx, bench.Blobs.Path(on.SHA256), activate.SecondStage, from)
		if err != nil || !found {
			return s, err
		}
		edited, err := c.afterIgnition(ctx, bench, from)
		if err != nil {
			return s, err
		}
		added = append(added, edited...)
		editor := squashfs.Editor{Tools: bench.Tools, Dir: dir, Epoch: b.Epoch}
		if err := editor.Add(ctx, from, to, squashFiles(added, bench.Blobs)); err != nil {
			return s, fmt.Errorf("/usr/%s of the base: %w", activate.SecondStage, err)
		}
		before, err := os.Stat(from)
		if err != nil {
			return s, err
		}
		s.SHA256, s.Size, err = bench.Blobs.AddFile(to)
		s.Grown = size.Bytes(s.Size - before.Size())
		return s, err
	})
}

// afterIgnition returns the after-ignition step of a second stage, as postinst does the other script.
func (c Content) afterIgnition(ctx context.Context, bench *setup.Bench, stage string) ([]embed.File, error) {
	for _, name := range integrate.AfterIgnition.Paths {
		script, there, err := squashfs.ReadFile(ctx, bench.Tools, stage, name)
		if err != nil {
			return nil, err
		}
		if there {
			return c.edit(integrate.AfterIgnition, name, "/"+name+" of the base's second initramfs stage", script)
		}
	}
	return nil, nil
}

// squashFiles converts files for a squashfs image.
func squashFiles(added []embed.File, blobs *store.Blobs) []squashfs.File {
	files := make([]squashfs.File, len(added))
	for i, f := range added {
		files[i] = squashfs.File{Path: f.Path, Mode: f.Mode, Content: f.Content, Target: f.Target}
		if !f.Blob.IsZero() {
			files[i].Blob = blobs.Path(f.Blob)
		}
	}
	return files
}

// copyOut copies a file out of a partition, if it exists.
func copyOut(ctx context.Context, partition, name, to string) (found bool, err error) {
	err = btrfs.View(ctx, partition, func(mounted string) error {
		root, err := os.OpenRoot(mounted)
		if err != nil {
			return err
		}
		defer root.Close()
		in, err := root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer in.Close()
		found = true
		return atomicfile.Write(to, 0o600, func(out io.Writer) error { _, err := io.Copy(out, in); return err })
	})
	return found, err
}
