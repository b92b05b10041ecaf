// Package dir is the source of directories beside recipes.
package dir

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

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
	return Copy(root, env, d.recipe, d.Path.Value, string(d.To))
}

// Copy copies a directory beside a recipe into root. Of the metadata only the executable bit is kept,
// so that images do not depend on the checkout's umask and owner. Links are copied, never followed.
func Copy(root *os.Root, env *kind.Env, r *recipe.Recipe, name, to string) error {
	from, err := env.Beside(r, name)
	if err != nil {
		return err
	}
	defer from.Close()
	return fs.WalkDir(from.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := path.Join("/", to, name)
		switch d.Type() {
		case fs.ModeDir:
			return rooted.MakeDir(root, path.Join(".", target))
		case fs.ModeSymlink:
			link, err := from.Readlink(name)
			if err != nil {
				return err
			}
			return root.Symlink(link, rooted.Rel(target))
		case 0:
			return copyFile(root, from, name, target)
		}
		return fmt.Errorf("%s is a %v; wanted files, directories and symbolic links", path.Join(from.Name(), name), d.Type())
	})
}

func copyFile(root, source *os.Root, from, to string) (err error) {
	file, err := source.Open(from)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	return rooted.Write(root, rooted.Rel(to), mode, func(out io.Writer) error {
		_, err := io.Copy(out, file)
		return err
	})
}
