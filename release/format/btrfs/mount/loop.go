package mount

import (
	"context"
	"errors"
	"fmt"
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
	device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
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
