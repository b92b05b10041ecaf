package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNeedsRoot says that the caller may not mount. Nothing was touched.
var ErrNeedsRoot = errors.New("mounting a file system needs root")

// mount is a mounted file system that has no place in any directory tree: it is reached through a file descriptor only,
// which like one of O_PATH stands for a place and cannot be read. The kernel unmounts it when that descriptor goes,
// however the process ends.
type mount struct {
	fd int
}

type mountMode struct {
	readOnly bool
	options  map[string]string // an empty value is a flag
}

var (
	// noatime keeps reads from writing.
	// A long commit interval keeps the kernel from writing half-made states that nobody will read.
	forWriting = mountMode{options: map[string]string{"commit": "300"}}
	// An image with a log to be replayed was refused before; nologreplay makes sure that reading never writes.
	forReading = mountMode{readOnly: true, options: map[string]string{"ro": "", "rescue": "nologreplay"}}
)

// mountImage mounts the file system in the first length bytes of backing. Its superblock must have been checked.
func mountImage(ctx context.Context, backing *os.File, length int64, mode mountMode) (*mount, error) {
	device, err := attachLoop(ctx, backing, length, mode.readOnly)
	if err != nil {
		return nil, err
	}
	defer device.Close() // the mount has a handle of its own
	context, err := unix.Fsopen("btrfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open a btrfs mount context: %w", err)
	}
	defer unix.Close(context)
	fd, err := mountDetached(context, device.Name(), mode.options)
	if err != nil {
		return nil, fmt.Errorf("mount %s as btrfs: %w%s", backing.Name(), err, kernelMessages(context))
	}
	return &mount{fd: fd}, nil
}

func mountDetached(context int, device string, options map[string]string) (int, error) {
	if err := unix.FsconfigSetString(context, "source", device); err != nil {
		return -1, err
	}
	for name, value := range options {
		set := func() error { return unix.FsconfigSetString(context, name, value) }
		if value == "" {
			set = func() error { return unix.FsconfigSetFlag(context, name) }
		}
		if err := set(); err != nil {
			return -1, fmt.Errorf("mount option %s=%s: %w", name, value, err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, err
	}
	// What an image of somebody else holds must not run or open devices here.
	return unix.Fsmount(context, unix.FSMOUNT_CLOEXEC,
		unix.MOUNT_ATTR_NOATIME|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
}

// kernelMessages returns what the kernel has to say about a failed mount. Often it has nothing.
func kernelMessages(context int) string {
	var all strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(context, buf)
		if err != nil || n <= 0 { // ENODATA: no further message
			return all.String()
		}
		all.WriteString("\n" + strings.TrimSpace(string(buf[:n])))
	}
}

// root is a path to the mount that works in this process and in its children.
// It goes through a symbolic link; the dot behind it makes walkers see the directory and not the link.
func (m *mount) root() string { return fmt.Sprintf("/proc/%d/fd/%d/.", os.Getpid(), m.fd) }

// seal writes everything out, makes the mount read-only, and reports what could not be written.
// It fails with EBUSY while a file in the mount is open for writing.
func (m *mount) seal() error {
	if err := m.sync(); err != nil {
		return err
	}
	context, err := unix.Fspick(m.fd, "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open the mount again: %w", err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigSetFlag(context, "ro"); err != nil {
		return err
	}
	if err := unix.FsconfigReconfigure(context); err != nil {
		return fmt.Errorf("make the mount read-only: %w%s", err, kernelMessages(context))
	}
	return nil
}

func (m *mount) sync() error {
	root, err := os.Open(m.root())
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		return fmt.Errorf("write out: %w", err)
	}
	return nil
}

func (m *mount) close() error { return unix.Close(m.fd) }
