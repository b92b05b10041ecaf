package btrfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/btrfs/mount"
	"github.com/flatcar/oem-sysext/release/format/btrfs/rewrite"
	"github.com/flatcar/oem-sysext/release/format/btrfs/space"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

// Edit writes at the path to what the image at the path from becomes when change has been applied to it.
// The two may be the same. Whatever happens, from is not changed unless it is also to, and to appears complete or not at all.
//
// The function change gets a path under which it finds the file system mounted for writing,
// in this process and its children, until it returns. Links in the image can point anywhere: use os.OpenRoot(root).
// It must close what it opens, and create things in the same order each time for the same bytes each time.
// Times later than epoch become epoch. The default subvolume is read-only afterwards.
//
// While it is changed, the file system has more room than it keeps, for the kernel works badly near the end of it.
// When the result does not fit, the error is an ENOSPC, most often after change has returned.
func Edit(ctx context.Context, from, to string, epoch time.Time, change func(root string) error) error {
	if os.Geteuid() != 0 {
		return mount.ErrNeedsRoot
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := edit(ctx, in, to, epoch, change); err != nil {
		return fmt.Errorf("edit %s: %w", from, err)
	}
	return nil
}

func edit(ctx context.Context, in *os.File, to string, epoch time.Time, change func(root string) error) error {
	super, err := superblock.ReadFile(in)
	if err != nil {
		return err
	}
	private, err := privateCopy(in, int64(super.Size), filepath.Dir(to))
	if err != nil {
		return err
	}
	defer private.Close()
	if err := changeMounted(ctx, private, super, change); err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	return atomicfile.Create(to, 0o644, func(out *os.File) error {
		if err := copySparse(out, in, int64(super.Size), info.Size()); err != nil {
			return err
		}
		return rewrite.File(ctx, out, private, super, epoch)
	})
}

// workroom is how large a file system is while it is changed: twice its size, and at least what the kernel
// agrees to resize to (fs/btrfs/ioctl.c, btrfs_ioctl_resize).
func workroom(super Superblock) int64 { return int64(max(2*super.Size, 256*size.MiB)) }

// changeMounted mounts private for writing, applies change, and returns when everything is in the file.
func changeMounted(ctx context.Context, private *os.File, super Superblock, change func(root string) error) error {
	length := workroom(super)
	if err := private.Truncate(length); err != nil {
		return err
	}
	m, err := mount.Image(ctx, private, length, mount.ForWriting)
	if err != nil {
		return err
	}
	defer m.Close() // also after a panic; nothing is left to be written after seal
	if err := m.SetReadOnly(false); err != nil {
		return err
	}
	if err := m.Grow(); err != nil {
		return err
	}
	if err := change(m.Root()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.SetReadOnly(true); err != nil {
		return err
	}
	return m.Seal()
}

// View mounts an image read-only and calls look with a path under which it finds the file system,
// in this process and its children, until it returns. Links in the image can point anywhere: use os.OpenRoot(root).
func View(ctx context.Context, image string, look func(root string) error) error {
	if os.Geteuid() != 0 {
		return mount.ErrNeedsRoot
	}
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	super, err := superblock.ReadFile(f)
	if err != nil {
		return err
	}
	m, err := mount.Image(ctx, f, int64(super.Size), mount.ForReading)
	if err != nil {
		return err
	}
	defer m.Close()
	return look(m.Root())
}

// Free returns how much room an image has for Edit to fill: with data, and with what accounts for it,
// which is about 1/400 of large files. It needs no mount, and is not what statfs says:
// on a read-only device the kernel counts no room at all in the chunks that there are.
func Free(_ context.Context, image string) (size.Bytes, error) {
	super, err := ReadSuperblock(image)
	if err != nil {
		return 0, err
	}
	return max(0, space.New(uint64(super.Size)).Free()-super.Used), nil
}
