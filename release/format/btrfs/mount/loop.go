package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Device makes length bytes of a file, from an offset on, a block device that can only be read, and returns it opened.
// The kernel detaches it on its own when it is closed.
func Device(ctx context.Context, backing *os.File, offset, length int64) (*os.File, error) {
	return attachLoop(ctx, backing, section{offset, length}, true)
}

// section is a part of a file.
type section struct{ offset, length int64 }

// attachLoop makes a part of backing a block device and returns it opened.
// The kernel detaches it on its own when its last user is gone: this handle or a mount.
func attachLoop(ctx context.Context, backing *os.File, part section, readOnly bool) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		device, err := configureLoop(number, backing, part, readOnly)
		if !errors.Is(err, unix.EBUSY) {
			return device, err
		}
		// Somebody else took that number between the two calls.
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func configureLoop(number int, backing *os.File, part section, readOnly bool) (*os.File, error) {
	device, err := openLoop(fmt.Sprintf("/dev/loop%d", number), number)
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{
		Fd:   uint32(backing.Fd()),
		Size: 512, // sector size: the smallest, as on a disk
		Info: unix.LoopInfo64{Offset: uint64(part.offset), Sizelimit: uint64(part.length), Flags: unix.LO_FLAGS_AUTOCLEAR},
	}
	if readOnly {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name()) // for people who run losetup
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		device.Close()
		return nil, fmt.Errorf("attach %s to %s: %w", backing.Name(), device.Name(), err)
	}
	return device, nil
}

// loopMajor is the number of the kernel's driver of loop devices (Documentation/admin-guide/devices.txt).
const loopMajor = 7

// openLoop opens a loop device. In a container /dev has only those that were there when it was started, so one that is missing is made.
func openLoop(path string, number int) (*os.File, error) {
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return device, err
	}
	err = unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(loopMajor, uint32(number))))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make %s, which this container lacks: %w; run it with the host's /dev, or as a privileged container", path, err)
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}
