package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Scan reads the tree below the directory root; root itself is not an entry.
// The content of every file is passed to add, which returns digest and length (Blobs.Add, or digest.OfReader).
// Devices, sockets and FIFOs are refused.
func Scan(root string, add func(io.Reader) (digest.SHA256, int64, error)) (Tree, error) {
	var t Tree
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		e, err := scanEntry(name, d, add)
		if err != nil {
			return err
		}
		e.Path = strings.TrimPrefix(name, strings.TrimSuffix(root, "/"))
		t = append(t, e)
		return nil
	})
	return Sorted(t), err
}

func scanEntry(name string, d fs.DirEntry, add func(io.Reader) (digest.SHA256, int64, error)) (Entry, error) {
	info, err := d.Info()
	if err != nil {
		return Entry{}, err
	}
	owner := info.Sys().(*syscall.Stat_t)
	e := Entry{Mode: modeBits(info.Mode()), UID: int(owner.Uid), GID: int(owner.Gid)}
	if e.Xattrs, err = xattrs(name); err != nil {
		return e, err
	}
	switch {
	case info.IsDir():
		e.Type = Dir
	case info.Mode().IsRegular():
		e.Type = File
		e.SHA256, e.Size, err = addFile(name, add)
	case info.Mode().Type() == fs.ModeSymlink:
		e.Type, e.Mode = Symlink, 0o777
		e.Target, err = os.Readlink(name)
	default:
		err = fmt.Errorf("%s is a %v; wanted files, directories and symbolic links only", name, info.Mode().Type())
	}
	return e, err
}

func addFile(name string, add func(io.Reader) (digest.SHA256, int64, error)) (digest.SHA256, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return digest.SHA256{}, 0, err
	}
	defer f.Close()
	return add(f)
}

// xattrs returns the extended attributes of a file, not following symbolic links.
func xattrs(name string) (map[string][]byte, error) {
	length, err := unix.Llistxattr(name, nil)
	if length == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	list := make([]byte, max(length, 0))
	if length, err = unix.Llistxattr(name, list); err != nil {
		return nil, fmt.Errorf("list xattrs of %s: %w", name, err)
	}
	found := map[string][]byte{}
	for key := range strings.SplitSeq(strings.TrimSuffix(string(list[:length]), "\x00"), "\x00") {
		value := make([]byte, 64<<10) // the kernel's limit, xattr(7)
		n, err := unix.Lgetxattr(name, key, value)
		if err != nil {
			return nil, fmt.Errorf("read xattr %s of %s: %w", key, name, err)
		}
		found[key] = value[:n:n]
	}
	return found, nil
}
