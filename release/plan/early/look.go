package early

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/format/squashfs"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/plan/early/initrd"
	"github.com/flatcar/oem-sysext/release/setup"
)

// TwoStages reports whether the base's initramfs has a second stage in /usr, which replaces everything that the kernel unpacked.
func TwoStages(b *bases.Base) bool {
	_, found := b.Target.Usr.Find("/usr/" + activate.SecondStage)
	return found
}

// Look reads the initramfs in which the base merges images: the second stage if there is one. It is nil if the kernel
// contains the initramfs.
func Look(ctx context.Context, bench *setup.Bench, b *bases.Base) (host *initrd.Host, err error) {
	file := b.Initrd
	if TwoStages(b) {
		file = filepath.Join(b.Usr, activate.SecondStage)
	} else if file == "" {
		return nil, nil
	}
	// The directory is named after the digest of the base's inputs.
	host, err = store.Memo(ctx, bench.Results.Step("initrd-host", bench.CacheName(file)), store.Nothing, func() (*initrd.Host, error) {
		if TwoStages(b) {
			return lookSecondStage(ctx, bench, file)
		}
		return lookFile(file)
	})
	if err != nil {
		return nil, fmt.Errorf("the base's initramfs: %w", err)
	}
	if host.VersionID != "" && host.VersionID != b.VersionID {
		return nil, fmt.Errorf("the base's initramfs has VERSION_ID=%s and its /usr %s; wanted the same or none in the initramfs, so that both merge an image",
			host.VersionID, b.VersionID)
	}
	return host, nil
}

func lookFile(file string) (*initrd.Host, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return initrd.Look(f)
}

func lookSecondStage(ctx context.Context, bench *setup.Bench, file string) (*initrd.Host, error) {
	dir, err := os.MkdirTemp(bench.Scratch, "stage.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	files := filepath.Join(dir, "files")
	if err := squashfs.Extract(ctx, bench.Tools, file, files); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(files)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return initrd.LookIn(root.FS())
}
