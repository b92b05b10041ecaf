package base

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
)

// arrange turns a Debian root into one whose /usr is all that a release ships, as Flatcar lays it out.
// It returns the package database of what is left.
func arrange(def Definition, root string) (status []byte, err error) {
	pkgs, err := readStatus(filepath.Join(root, "var/lib/dpkg/status"))
	if err != nil {
		return nil, err
	}
	keep, err := closure(pkgs, def.Packages, def.Without)
	if err != nil {
		return nil, err
	}
	if status, err = removePackages(root, pkgs, keep); err != nil {
		return nil, err
	}
	if err := prune(root, def.Prune); err != nil {
		return nil, err
	}
	if err := dropUnrunnable(root); err != nil {
		return nil, err
	}
	if err := dropDangling(root); err != nil {
		return nil, err
	}
	if err := copyFiles("files/root", root); err != nil {
		return nil, err
	}
	if err := makeLinks(root, def.Links); err != nil {
		return nil, err
	}
	return status, moveEtc(root)
}

// lowerEtc is where Flatcar keeps the default /etc, relative to the root.
const lowerEtc = "usr/share/flatcar/etc"

// moveEtc makes /etc the lower layer that a machine's own /etc is laid over.
func moveEtc(root string) error {
	lower := filepath.Join(root, lowerEtc)
	if err := makeDirs(filepath.Dir(lower)); err != nil {
		return err
	}
	return os.Rename(filepath.Join(root, "etc"), lower)
}

// copyFiles copies embedded files below dir. Scripts become executable.
func copyFiles(from, dir string) error {
	return fs.WalkDir(embedded, from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(name, from))
		if entry.IsDir() {
			return makeDirs(to)
		}
		content, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if bytes.HasPrefix(content, []byte("#!")) {
			mode = 0o755
		}
		return atomicfile.WriteBytes(to, mode, content)
	})
}

func makeLinks(root string, links []Link) error {
	for _, link := range links {
		path := filepath.Join(root, link.Path)
		if err := makeDirs(filepath.Dir(path)); err != nil {
			return err
		}
		if err := os.Symlink(link.Target, path); err != nil {
			return err
		}
	}
	return nil
}

// makeDirs makes a directory and those above it where they are missing, with mode 0755 whatever the umask.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}
