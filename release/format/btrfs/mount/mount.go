// Package mount has the kernel mount a file system that no directory tree shows.
//
// In goes an image that is open, out comes a path that works until the mount is closed or the process ends. Whoever
// is not root may not mount, which callers say with ErrNeedsRoot. They have also checked the superblock.
package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNeedsRoot says that the caller may not mount. Nothing was touched.
var ErrNeedsRoot = errors.New("mounting a file system needs root")

// Mount is a mounted file system that has no place in any directory tree: it is reached through a file descriptor only,
// which like one of O_PATH stands for a place and cannot be read. The kernel unmounts it when that descriptor goes,
// however the process ends.
type Mount struct {
	*os.File
}

// Mode is what a file system is mounted for.
type Mode struct {
	readOnly bool
	options  map[string]string // an empty value is a flag
}

// What there is to mount for.
var (
	// What is mounted for writing is scratch: it need not survive a power cut, so no flush has to reach the disk (nobarrier),
	// and nobody reads the states in between, so the kernel need not write them out (commit, in seconds; more gives a warning).
	// Nothing else is asked for: what the kernel decides here shows in none of the bytes that Edit writes.
	ForWriting = Mode{options: map[string]string{"commit": "300", "nobarrier": ""}}
	// An image with a log to be replayed was refused before; nologreplay makes sure that reading never writes.
	ForReading = Mode{readOnly: true, options: map[string]string{"ro": "", "rescue": "nologreplay"}}
)

// Image mounts the file system in the first length bytes of backing. Its superblock must have been checked.
func Image(ctx context.Context, backing *os.File, length int64, mode Mode) (Mount, error) {
	device, err := attachLoop(ctx, backing, section{length: length}, mode.readOnly)
	if err != nil {
		return Mount{}, err
	}
	defer device.Close() // the mount has a handle of its own
	fd, err := unix.Fsopen("btrfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return Mount{}, fmt.Errorf("ask for a btrfs mount: %w", err)
	}
	config := os.NewFile(uintptr(fd), "mount configuration")
	defer config.Close()
	m, err := mountDetached(config, device.Name(), mode.options)
	if err != nil {
		return Mount{}, fmt.Errorf("mount %s as btrfs: %w%s", backing.Name(), err, kernelMessages(config))
	}
	return m, nil
}

func mountDetached(config *os.File, device string, options map[string]string) (Mount, error) {
	fd := int(config.Fd())
	if err := unix.FsconfigSetString(fd, "source", device); err != nil {
		return Mount{}, err
	}
	for name, value := range options {
		set := func() error { return unix.FsconfigSetString(fd, name, value) }
		if value == "" {
			set = func() error { return unix.FsconfigSetFlag(fd, name) }
		}
		if err := set(); err != nil {
			return Mount{}, fmt.Errorf("mount option %s=%s: %w", name, value, err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return Mount{}, err
	}
	// What an image of somebody else holds must not run or open devices here.
	mounted, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC,
		unix.MOUNT_ATTR_NOATIME|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return Mount{}, err
	}
	return Mount{os.NewFile(uintptr(mounted), device)}, nil
}

// kernelMessages returns what the kernel has to say about a failure. Often it has nothing.
func kernelMessages(config io.Reader) string {
	all := ""
	for buf := make([]byte, 4096); ; {
		n, err := config.Read(buf)
		if err != nil { // ENODATA: no further message
			return all
		}
		all += "\n" + string(buf[:n])
	}
}

// Root is a path to the mount that works in this process and in its children.
// It goes through a symbolic link; the dot behind it makes walkers see the directory and not the link.
func (m Mount) Root() string { return fmt.Sprintf("/proc/%d/fd/%d/.", os.Getpid(), m.Fd()) }

// Seal writes everything out, makes the mount read-only, and reports what could not be written.
// It fails with EBUSY while a file in the mount is open for writing.
func (m Mount) Seal() error {
	if err := m.sync(); err != nil {
		return err
	}
	fd, err := unix.Fspick(int(m.Fd()), "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("configure the mount again: %w", err)
	}
	config := os.NewFile(uintptr(fd), "mount configuration")
	defer config.Close()
	if err := unix.FsconfigSetFlag(fd, "ro"); err != nil {
		return err
	}
	if err := unix.FsconfigReconfigure(fd); err != nil {
		return fmt.Errorf("make the mount read-only: %w%s", err, kernelMessages(config))
	}
	return nil
}

func (m Mount) sync() error {
	root, err := os.Open(m.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		return fmt.Errorf("write out: %w", err)
	}
	return nil
}
