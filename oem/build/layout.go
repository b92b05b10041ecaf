package build

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
)

// copyDir copies a directory of the recipe to a place in root. Of its metadata only the executable bit counts,
// so that neither the checkout's umask nor its owner shows in an image.
func copyDir(root *os.Root, from, to string) error {
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
			return makeDir(root, target)
		case d.Type() == fs.ModeSymlink:
			link, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return root.Symlink(link, rel(target))
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
	return writeFile(root, to, content, mode)
}

// writeFile makes a file that must not be there yet.
func writeFile(root *os.Root, name string, content []byte, mode fs.FileMode) error {
	if err := makeDir(root, path.Dir(name)); err != nil {
		return err
	}
	return rooted.WriteBytes(root, rel(name), mode, content)
}

// makeDir makes a directory and its parents, with mode 0755 whatever the umask.
func makeDir(root *os.Root, name string) error { return rooted.MakeDir(root, path.Join(".", name)) }

// move carries out a recipe's moves, in the order of their names.
func move(root *os.Root, r *recipe.Recipe) error {
	for _, from := range slices.Sorted(maps.Keys(r.Move)) {
		to := string(r.Move[from])
		if _, err := root.Lstat(rel(from)); err != nil {
			return fmt.Errorf("%s: move %s to %s: %w", r.File, from, to, err)
		}
		if _, err := root.Lstat(rel(to)); err == nil {
			return fmt.Errorf("%s: move %s to %s: something is there already", r.File, from, to)
		}
		if err := makeDir(root, path.Dir(to)); err != nil {
			return err
		}
		if err := root.Rename(rel(from), rel(to)); err != nil {
			return err
		}
	}
	return nil
}

// upholds writes the drop-ins by which units of the base start those of the recipe.
// Links in .wants directories would count only if they were there when the manager loads.
func upholds(root *os.Root, r *recipe.Recipe) error {
	for upholder, units := range r.Units.Upholds {
		name := fmt.Sprintf("/usr/lib/systemd/system/%s.d/10-%s.conf", upholder, r.Name)
		content := "[Unit]\nUpholds=" + strings.Join(units, " ") + "\n"
		if err := writeFile(root, name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// rel turns an absolute path into what os.Root takes.
func rel(name string) string { return strings.TrimPrefix(path.Clean(name), "/") }
