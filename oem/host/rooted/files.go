package rooted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Files returns the files below a directory that somebody else filled, for reading. A name that leads through a symbolic link, and
// anything but files and directories, is refused: the one could lead anywhere on the host, and the other block for ever.
func Files(dir string) fs.ReadLinkFS { return files(dir) }

// OpenDir opens a directory below another one that somebody else filled. A name that leads through a symbolic link is refused.
func OpenDir(dir, name string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := find(root, "open", name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is not a directory")}
	}
	return root.OpenRoot(name)
}

type files string

func (f files) Open(name string) (fs.File, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := find(root, "open", name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("is a special file (%v); wanted a file or a directory", info.Mode().Type())}
	}
	return root.Open(name)
}

func (f files) Lstat(name string) (fs.FileInfo, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := parents(root, "lstat", name); err != nil {
		return nil, err
	}
	return root.Lstat(name)
}

func (f files) ReadLink(name string) (string, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := parents(root, "readlink", name); err != nil {
		return "", err
	}
	return root.Readlink(name)
}

// find returns what a name is, unless it leads through a link or is one.
func find(root *os.Root, op, name string) (fs.FileInfo, error) {
	if err := parents(root, op, name); err != nil {
		return nil, err
	}
	return noLink(root, op, name)
}

// parents refuses a name that leads through a link.
func parents(root *os.Root, op, name string) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	for i, c := range name {
		if c != '/' {
			continue
		}
		if _, err := noLink(root, op, name[:i]); err != nil {
			return err
		}
	}
	return nil
}

func noLink(root *os.Root, op, name string) (fs.FileInfo, error) {
	info, err := root.Lstat(name)
	if err != nil || info.Mode().Type() != fs.ModeSymlink {
		return info, err
	}
	target, err := root.Readlink(name)
	if err != nil {
		return nil, err
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: fmt.Errorf("is a link to %q; wanted a file or directory of its own", target)}
}

// LeadsOut tells whether a relative link at a path below some root climbs above that root.
// What the root means is the caller's: a directory, or "/" of an image.
func LeadsOut(name, target string) bool {
	depth := strings.Count(strings.Trim(name, "/"), "/")
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return true
		}
	}
	return false
}
