package mount

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests (kernel include/uapi/linux/btrfs.h).
const (
	ioctlResize         = 0x50009403 // _IOW(0x94, 3, struct btrfs_ioctl_vol_args)
	ioctlSubvolGetFlags = 0x80089419 // _IOR(0x94, 25, __u64)
	ioctlSubvolSetFlags = 0x4008941a // _IOW(0x94, 26, __u64)

	subvolReadOnly = 1 << 1
)

// volArgs is struct btrfs_ioctl_vol_args.
type volArgs struct {
	_    int64 // a file descriptor, for other requests
	name [4088]byte
}

// Grow makes the file system as large as its device.
func (m Mount) Grow() error {
	var args volArgs
	copy(args.name[:], "max")
	if err := ioctl(m, ioctlResize, &args); err != nil {
		return fmt.Errorf("make the file system larger for the time of the change: %w", err)
	}
	return nil
}

// SetReadOnly sets or clears the read-only flag of the default subvolume, which is what is mounted.
func (m Mount) SetReadOnly(readOnly bool) error {
	var flags uint64
	if err := ioctl(m, ioctlSubvolGetFlags, &flags); err != nil {
		return fmt.Errorf("read the flags of the default subvolume: %w", err)
	}
	flags &^= subvolReadOnly
	if readOnly {
		flags |= subvolReadOnly
	}
	if err := ioctl(m, ioctlSubvolSetFlags, &flags); err != nil {
		return fmt.Errorf("set the flags of the default subvolume to %#x: %w", flags, err)
	}
	return nil
}

// ioctl makes a request on the top directory, with an argument that is as the kernel defines it for the request.
func ioctl[T any](m Mount, request uintptr, argument *T) error {
	root, err := os.Open(m.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	//nolint:gosec // unsafe, for x/sys has no functions for these requests
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, root.Fd(), request, uintptr(unsafe.Pointer(argument))); errno != 0 {
		return errno
	}
	return nil
}
