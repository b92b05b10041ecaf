// Package download verifies and unpacks single files published upstream.
package download

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// Want is the file of a pin, at one of several addresses.
func Want(addresses []string, pin lock.Pin) fetch.Want {
	return fetch.Want{URLs: addresses, SHA256: pin.SHA256(), Size: size.Bytes(pin.Size)}
}

// File is a downloaded file: a tar or zip archive, a Debian package, or one program.
type File struct {
	Pin       lock.Pin
	Addresses []string
	Unpack    recipe.Unpack // how it is unpacked
}

// LayOut downloads and unpacks a file.
func (f File) LayOut(ctx context.Context, env *kind.Env, to kind.Place) error {
	name, err := env.Store.File(ctx, Want(f.Addresses, f.Pin))
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if f.Unpack.Program != "" {
		return f.program(file, to.Root)
	}
	kept := 0
	counted := func(name string) bool {
		keeps := to.Keep(name)
		if keeps {
			kept++
		}
		return keeps
	}
	if err := f.archive(file, to.Root, counted); err != nil {
		return err
	}
	if kept == 0 {
		return errors.New("nothing in the archive is below /usr; set a target, such as unpack: {strip: 1, to: /usr}")
	}
	return nil
}

func (f File) program(file *os.File, root *os.Root) error {
	to := rooted.Rel(string(f.Unpack.Program))
	if err := rooted.MakeDir(root, path.Dir(to)); err != nil {
		return err
	}
	return archive.Single(file, root, to, archive.Options{Name: f.Pin.Name})
}

// archive unpacks an archive, whose type is detected by its first bytes.
func (f File) archive(file *os.File, root *os.Root, keep func(string) bool) error {
	magic := make([]byte, 8)
	if _, err := file.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch options := unpackOptions(f.Pin.Name, f.Unpack, keep); {
	case string(magic) == "!<arch>\n":
		_, err := debian.Unpack(file.Name(), debian.Identity{}, root, keep)
		return err
	case string(magic[:2]) == "PK":
		return archive.Zip(file, int64(f.Pin.Size), root, options)
	default:
		if err := archive.Tar(file, root, options); err != nil {
			return fmt.Errorf("%w (for a file that is one program, not an archive, use unpack: {program: …})", err)
		}
		return nil
	}
}

// unpackOptions implement a recipe's unpack:.
func unpackOptions(name string, u recipe.Unpack, keep func(string) bool) archive.Options {
	to := rooted.Rel(string(u.To))
	return archive.Options{
		Name: name,
		Path: func(name string) string {
			for range u.Strip {
				_, name, _ = strings.Cut(name, "/")
			}
			if name == "" {
				return "" // one of the removed directories
			}
			return path.Join(to, name)
		},
		Keep: func(header *tar.Header) bool {
			return header.Name != "" && included(u.Include, "/"+strings.TrimPrefix(strings.TrimPrefix(header.Name, to), "/")) && keep(header.Name)
		},
	}
}

// included tells whether a pattern matches a path or a directory above it.
func included(patterns []recipe.Glob, name string) bool {
	if len(patterns) == 0 {
		return true
	}
	for ; name != "/"; name = path.Dir(name) {
		if slices.ContainsFunc(patterns, func(g recipe.Glob) bool { return g.Match(name) }) {
			return true
		}
	}
	return false
}
