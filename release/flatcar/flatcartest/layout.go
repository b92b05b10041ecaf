package flatcartest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/run"
)

// Debian's directory of libraries, as it is compiled into programs, and Flatcar's in the same number of bytes:
// the kernel takes several slashes for one.
const (
	debianLibraries  = "/lib/x86_64-linux-gnu"
	flatcarLibraries = "/lib64///////////////"
)

// FromDebian lays the /usr of a reference base out as Flatcar's: all libraries in /usr/lib64, where the loader and all
// programs then look for them, /usr/sbin a link to bin, and no directory of Debian's.
func FromDebian(t testing.TB, from string) (usr string) {
	t.Helper()
	usr = filepath.Join(t.TempDir(), "usr")
	const script = `cp --archive "$0" "$1" && cd "$1"
rm lib64/* && mv lib/x86_64-linux-gnu/* lib64 && rmdir lib/x86_64-linux-gnu
for f in sbin/*; do test -e "bin/${f#sbin/}" || mv "$f" bin; done
rm -r sbin && ln -s bin sbin
rm -rf lib/dpkg share/dpkg share/debianutils`
	err := run.Run(t.Context(), run.Cmd{Program: "sh", Args: []string{"-euc", script, from, usr}, Env: run.HostEnv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(usr, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.Type() == fs.ModeSymlink:
			return relink(path)
		case d.Type().IsRegular():
			return rewrite(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return usr
}

// relink leads links to where libraries and programs are now.
func relink(path string) error {
	target, err := os.Readlink(path)
	if err != nil {
		return err
	}
	moved := strings.NewReplacer("lib/x86_64-linux-gnu", "lib64", "/x86_64-linux-gnu", "").Replace(target)
	if moved == target {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink(moved, path)
}

// rewrite replaces Debian's directory in a file, which keeps its length, mode and time.
func rewrite(path string) error {
	content, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(content, []byte(debianLibraries)) {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	content = bytes.ReplaceAll(content, []byte(debianLibraries), []byte(flatcarLibraries))
	if err := os.WriteFile(path, content, info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}
