// Package rooted creates files and directories below an os.Root, with exact modes whatever the umask, and reads those that
// somebody else made there without following a link.
package rooted

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Rel turns an absolute path into a relative one, as os.Root takes.
func Rel(name string) string { return strings.TrimPrefix(path.Clean(name), "/") }

// MakeDir creates a directory and its missing parents with mode 0755.
func MakeDir(root *os.Root, dir string) error {
	if info, err := root.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := MakeDir(root, path.Dir(dir)); err != nil {
		return err
	}
	return Mkdir(root, dir, 0o755)
}

// Mkdir creates a directory that must not exist.
func Mkdir(root *os.Root, dir string, mode fs.FileMode) error {
	if err := root.Mkdir(dir, mode); err != nil {
		return err
	}
	return root.Chmod(dir, mode)
}

// Write creates a file that must not exist, in a directory that must.
func Write(root *os.Root, name string, mode fs.FileMode, content func(io.Writer) error) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = content(f)
	if chmodErr := f.Chmod(mode); err == nil {
		err = chmodErr
	}
	return errors.Join(err, f.Close())
}

// WriteBytes is Write of bytes.
func WriteBytes(root *os.Root, name string, mode fs.FileMode, content []byte) error {
	return Write(root, name, mode, func(f io.Writer) error { _, err := f.Write(content); return err })
}
