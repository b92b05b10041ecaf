package btrfs

import (
	"context"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/flatcar/oem-sysext/oem/atomicfile"
	"github.com/flatcar/oem-sysext/oem/size"
	"golang.org/x/sys/unix"
)

// Edit writes at the path to what the image at the path from becomes when change has been applied to it.
// The two may be the same. Whatever happens, from is not changed unless it is also to, and to appears complete or not at all.
//
// The function change gets a path under which it finds the file system mounted for writing,
// in this process and its children, until it returns. Links in the image can point anywhere: use os.OpenRoot(root).
// It must close what it opens. Times later than epoch become epoch.
//
// When the changes do not fit, the error is an ENOSPC, even if change itself did not see one.
func Edit(ctx context.Context, from, to string, epoch time.Time, change func(root string) error) error {
	if os.Geteuid() != 0 {
		return ErrNeedsRoot
	}
	super, err := ReadSuperblock(from)
	if err != nil {
		return err
	}
	private, err := privateCopy(from, dirOf(to))
	if err != nil {
		return err
	}
	defer private.Close()
	if err := changeMounted(ctx, private, super, change); err != nil {
		return fmt.Errorf("edit %s: %w", from, err)
	}
	return atomicfile.Create(to, 0o644, func(out *os.File) error {
		return rewrite(ctx, out, private, super.Generation, epoch)
	})
}

// changeMounted mounts private for writing, applies change, and returns when everything is in the file.
func changeMounted(ctx context.Context, private *os.File, super Superblock, change func(root string) error) (err error) {
	m, err := mountImage(ctx, private, super, forWriting)
	if err != nil {
		return err
	}
	defer m.close() // after a panic or an error; nothing is left to be written after seal
	if err := setReadOnly(m, false); err != nil {
		return err
	}
	if err := change(m.root()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := setReadOnly(m, true); err != nil {
		return err
	}
	return m.seal()
}

// View mounts an image read-only and calls look with a path under which it finds the file system,
// in this process and its children, until it returns. Links in the image can point anywhere: use os.OpenRoot(root).
func View(ctx context.Context, image string, look func(root string) error) error {
	return viewMounted(ctx, image, func(m *mount) error { return look(m.root()) })
}

// Free returns how much room for further files the file system of an image has.
// The number is the kernel's (statfs): data and metadata share their space, so there is only one, and both count.
func Free(ctx context.Context, image string) (size.Bytes, error) {
	var free int64
	err := viewMounted(ctx, image, func(m *mount) (err error) {
		free, err = m.free()
		return err
	})
	return size.Bytes(free), err
}

func viewMounted(ctx context.Context, image string, look func(*mount) error) error {
	if os.Geteuid() != 0 {
		return ErrNeedsRoot
	}
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	super, err := readSuperblock(f)
	if err != nil {
		return err
	}
	m, err := mountImage(ctx, f, super, forReading)
	if err != nil {
		return err
	}
	defer m.close()
	return look(m)
}

// Requests on a subvolume and the flag they carry (kernel include/uapi/linux/btrfs.h).
const (
	ioctlSubvolGetFlags = 0x80089419 // _IOR(0x94, 25, __u64)
	ioctlSubvolSetFlags = 0x4008941a // _IOW(0x94, 26, __u64)
	subvolReadOnly      = 1 << 1
)

// setReadOnly sets or clears the read-only flag of the default subvolume, which is what is mounted.
func setReadOnly(m *mount, readOnly bool) error {
	root, err := os.Open(m.root())
	if err != nil {
		return err
	}
	defer root.Close()
	var flags uint64
	if err := ioctl(root, ioctlSubvolGetFlags, &flags); err != nil {
		return fmt.Errorf("read the flags of the default subvolume: %w", err)
	}
	wanted := flags &^ subvolReadOnly
	if readOnly {
		wanted |= subvolReadOnly
	}
	if err := ioctl(root, ioctlSubvolSetFlags, &wanted); err != nil {
		return fmt.Errorf("set the flags of the default subvolume to %#x: %w", wanted, err)
	}
	return nil
}

func ioctl(f *os.File, request uintptr, value *uint64) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(value)))
	if errno != 0 {
		return errno
	}
	return nil
}
