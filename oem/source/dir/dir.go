// Package dir is the source of directories beside recipes.
package dir

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/source/kind"
)

// Of returns a recipe's source if it is of this kind, else nil.
func Of(r *recipe.Recipe, s recipe.Source) kind.Source {
	if s.Dir == nil {
		return nil
	}
	return source{s.Dir, r}
}

type source struct {
	*recipe.Dir
	recipe *recipe.Recipe
}

// Look returns no pins: there is nothing to look up.
func (source) Look(context.Context, *kind.Env, arch.Arch) ([]lock.Pin, error) { return nil, nil }

// Unpack does nothing: LayOut copies the directory later.
func (source) Unpack(context.Context, *kind.Env, []lock.Pin, kind.Place) error { return nil }

// LayOut copies the directory into root.
func (d source) LayOut(env *kind.Env, root *os.Root) error {
	return Copy(root, env.Beside(d.recipe, d.Path.Value), string(d.To))
}

// Copy copies a directory of the recipe into root. Of the metadata only the executable bit is kept,
// so that images do not depend on the checkout's umask and owner.
func Copy(root *os.Root, from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := path.Join(to, filepath.ToSlash(relative))
		switch {
		case d.IsDir():
			return rooted.MakeDir(root, path.Join(".", target))
		case d.Type() == fs.ModeSymlink:
			link, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return root.Symlink(link, rooted.Rel(target))
		}
		return copyFile(root, name, target)
	})
}

func copyFile(root *os.Root, from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is a %v; wanted files, directories and symbolic links", from, info.Mode().Type())
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if err := rooted.MakeDir(root, path.Dir(rooted.Rel(to))); err != nil {
		return err
	}
	return rooted.WriteBytes(root, rooted.Rel(to), mode, content)
}
