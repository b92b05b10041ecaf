package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Extract copies everything in an image's file system, and the metadata of its top directory, into a new directory:
// types, content, owners, modes, hard links, modification times and attributes. Devices, sockets and pipes are refused.
func Extract(ctx context.Context, image, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return View(ctx, image, func(root string) error { return copyTree(ctx, root, dir) })
}

// copier copies a directory tree into an empty directory.
type copier struct {
	ctx   context.Context
	links map[fileID]string // where the first name of a file with several names went
}

type fileID struct{ device, inode uint64 }

// copyTree copies everything in the directory from, and its own metadata, into the empty directory to:
// types, content, owners, modes, hard links, modification times and those extended attributes that do not
// belong to the host. It goes in the order of names, so that inode numbers come out the same each time.
func copyTree(ctx context.Context, from, to string) error {
	c := &copier{ctx: ctx, links: map[fileID]string{}}
	return c.directory(from, to)
}

func (c *copier) directory(from, to string) error {
	entries, err := os.ReadDir(from) // sorted
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if err := c.entry(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return copyMetadata(from, to) // last: every new entry changed the time
}

func (c *copier) entry(from, to string) error {
	var stat unix.Stat_t
	if err := unix.Lstat(from, &stat); err != nil {
		return &fs.PathError{Op: "lstat", Path: from, Err: err}
	}
	id := fileID{stat.Dev, stat.Ino}
	if first, seen := c.links[id]; seen {
		return os.Link(first, to)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		return c.directory(from, to)
	case unix.S_IFREG:
		if err := copyContent(from, to); err != nil {
			return err
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s has type %#o; wanted a directory, file or symbolic link", from, stat.Mode&unix.S_IFMT)
	}
	if stat.Nlink > 1 {
		c.links[id] = to
	}
	return copyMetadata(from, to)
}

func copyContent(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// copyMetadata copies owner, then what a change of owner would drop, then the time.
func copyMetadata(from, to string) error {
	var stat unix.Stat_t
	if err := unix.Lstat(from, &stat); err != nil {
		return &fs.PathError{Op: "lstat", Path: from, Err: err}
	}
	if err := os.Lchown(to, int(stat.Uid), int(stat.Gid)); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, stat.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: to, Err: err}
		}
	}
	if err := copyAttributes(from, to); err != nil {
		return err
	}
	times := []unix.Timespec{stat.Mtim, stat.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "set the time of", Path: to, Err: err}
	}
	return nil
}

// copyAttributes copies file capabilities, access control lists and user attributes.
// The others belong to the host, such as SELinux labels, or to its file system.
func copyAttributes(from, to string) error {
	names, err := attributeNames(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != "security.capability" && !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
			continue
		}
		value, err := attribute(from, name)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(to, name, value, 0); err != nil {
			return fmt.Errorf("set attribute %s of %s: %w", name, to, err)
		}
	}
	return nil
}

// The largest list of names and the largest value (kernel include/uapi/linux/limits.h, XATTR_LIST_MAX, XATTR_SIZE_MAX).
const maxAttribute = 64 << 10

func attributeNames(path string) ([]string, error) {
	buf := make([]byte, maxAttribute)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attributes of %s: %w", path, err)
	}
	return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }), nil
}

func attribute(path, name string) ([]byte, error) {
	buf := make([]byte, maxAttribute)
	n, err := unix.Lgetxattr(path, name, buf)
	if err != nil {
		return nil, fmt.Errorf("read attribute %s of %s: %w", name, path, err)
	}
	return buf[:n], nil
}
