package flatcartest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

// FromDebian lays the /usr of a reference base out as Flatcar's: all libraries in /usr/lib64, where the loader and all
// programs then look for them, /usr/sbin a link to bin, and no directory of Debian's.
func FromDebian(t testing.TB, from string, a arch.Arch) (usr string) {
	t.Helper()
	usr = filepath.Join(t.TempDir(), "usr")
	const script = `cp --archive "$0" "$1" && cd "$1"
mkdir -p lib64 && rm -f lib64/* && mv "lib/$2"/* lib64 && rmdir "lib/$2"
for f in sbin/*; do test -e "bin/${f#sbin/}" || mv "$f" bin; done
rm -r sbin && ln -s bin sbin
rm -rf lib/dpkg share/dpkg share/debianutils`
	err := run.Run(t.Context(), run.Cmd{Program: "sh", Args: []string{"-euc", script, from, usr, a.Triplet()}, Env: run.HostEnv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(usr, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.Type() == fs.ModeSymlink:
			return relink(path, a.Triplet())
		case d.Type().IsRegular():
			return rewrite(path, "/lib/"+a.Triplet())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return usr
}

// relink leads links to where libraries and programs are now.
func relink(path, triplet string) error {
	target, err := os.Readlink(path)
	if err != nil {
		return err
	}
	moved := strings.NewReplacer("lib/"+triplet, "lib64", "/"+triplet, "", triplet+"/", "../lib64/").Replace(target)
	if moved == target {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink(moved, path)
}

// rewrite replaces Debian's directory in a file by Flatcar's in the same number of bytes: the kernel takes several slashes for one.
// The file keeps its length, mode and time.
func rewrite(path, libraries string) error {
	content, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(content, []byte(libraries)) {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	const flatcar = "/lib64"
	content = bytes.ReplaceAll(content, []byte(libraries), []byte(flatcar+strings.Repeat("/", len(libraries)-len(flatcar))))
	if err := os.WriteFile(path, content, info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}
