package rooted

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Modes are those that were asked for, and nothing that is there is replaced.
func TestModesWhateverTheUmask(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = errors.Join(MakeDir(root, "a/b"), Mkdir(root, "a/b/c", 0o750), WriteBytes(root, "a/b/file", 0o644, []byte("x")), MakeDir(root, "a/b"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"a": 0o755, "a/b": 0o755, "a/b/c": 0o750, "a/b/file": 0o644} {
		if info, err := root.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; wanted %v", name, info, err, want)
		}
	}
	if err := WriteBytes(root, "a/b/file", 0o644, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file is replaced: %v", err)
	}
	if err := MakeDir(root, "a/b/file/d"); err == nil {
		t.Error("a directory is made below a file")
	}
}
