package btrfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/format/btrfs/mount"
)

// Options say what Format makes.
type Options struct {
	Source     string     // the directory whose content becomes the file system's
	UUID       UUID       // of the file system
	Filesystem size.Bytes // how much of the image is the file system
	Partition  size.Bytes // how long the image is
	Epoch      time.Time  // later times become this
}

// compression is the property that Flatcar sets on the top directory. Everything created below inherits it.
const compression = "zstd"

// Format writes a new image at path: a file system made and filled as Flatcar's image build does it
// (flatcar/scripts, build_library/disk_util, FormatBtrfs), and zeros behind it.
// It needs mkfs.btrfs from the tool root.
func Format(ctx context.Context, tools *toolroot.Root, path string, o Options) error {
	if os.Geteuid() != 0 {
		return mount.ErrNeedsRoot
	}
	empty, err := makeEmpty(ctx, tools, filepath.Dir(path), o)
	if err != nil {
		return err
	}
	defer empty.Close()
	return edit(ctx, empty, path, o.Epoch, func(root string) error {
		if err := unix.Setxattr(root, "btrfs.compression", []byte(compression), 0); err != nil {
			return fmt.Errorf("set the property compression=%s: %w", compression, err)
		}
		return copyTree(ctx, o.Source, root)
	})
}

// makeEmpty makes a file system without files, in a file in dir that has no name when it is returned.
func makeEmpty(ctx context.Context, tools *toolroot.Root, dir string, o Options) (*os.File, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, ".btrfs.*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	err = f.Truncate(int64(o.Partition))
	if err == nil {
		err = tools.Run(ctx, toolroot.Cmd{
			Program: "mkfs.btrfs",
			Args: []string{"--quiet", "--mixed", "-m", "single", "-d", "single",
				"--byte-count", strconv.FormatInt(int64(o.Filesystem), 10), "--uuid", o.UUID.String(), f.Name()},
			Write: []string{f.Name()},
		})
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
