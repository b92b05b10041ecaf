package build

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
)

// writeFile creates a file that must not exist.
func writeFile(root *os.Root, name string, content []byte, mode fs.FileMode) error {
	if err := makeDir(root, path.Dir(name)); err != nil {
		return err
	}
	return rooted.WriteBytes(root, rel(name), mode, content)
}

// makeDir creates a directory and its parents, with mode 0755 whatever the umask.
func makeDir(root *os.Root, name string) error { return rooted.MakeDir(root, path.Join(".", name)) }

// move carries out a recipe's moves, in the order of their names.
func move(root *os.Root, r *recipe.Recipe) error {
	for _, from := range slices.Sorted(maps.Keys(r.Move)) {
		to := string(r.Move[from])
		if _, err := root.Lstat(rel(from)); err != nil {
			return fmt.Errorf("%s: move %s to %s: %w", r.File, from, to, err)
		}
		if _, err := root.Lstat(rel(to)); err == nil {
			return fmt.Errorf("%s: move %s to %s: the target exists; choose another", r.File, from, to)
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

// upholds writes drop-ins that make units of the base start those of the recipe.
// Links in .wants directories would only work if they existed when systemd loads its units.
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

// rel turns an absolute path into a relative one, as os.Root takes.
func rel(name string) string { return rooted.Rel(name) }
