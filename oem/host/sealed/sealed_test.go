package sealed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"usr/bin", "root/dev/shm", "usr/lib"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"usr/bin/bash": "a program", "usr/lib/lib.so": "a library", "root/dev/console": "", "status": "a list"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("bash", filepath.Join(dir, "usr/bin/sh")); err != nil {
		t.Fatal(err)
	}
	if err := Seal(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Whatever changes in a directory is found and named, whether or not a check was remembered before, and whatever times a file has.
func TestChangesAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"one bit": {func(dir string) error {
			path := filepath.Join(dir, "usr/bin/bash")
			info, err := os.Stat(path)
			if err == nil {
				err = os.WriteFile(path, []byte("a progral"), 0o755)
			}
			if err != nil {
				return err
			}
			return os.Chtimes(path, info.ModTime(), info.ModTime())
		}, "usr/bin/bash"},
		"a mode":    {func(dir string) error { return os.Chmod(filepath.Join(dir, "usr/lib/lib.so"), 0o777) }, "usr/lib/lib.so"},
		"a target":  {func(dir string) error { return relink(filepath.Join(dir, "usr/bin/sh"), "dash") }, "usr/bin/sh"},
		"more":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "usr/bin/more"), nil, 0o755) }, "usr/bin/more"},
		"less":      {func(dir string) error { return os.Remove(filepath.Join(dir, "status")) }, "status"},
		"an owner":  {func(dir string) error { return os.Chown(filepath.Join(dir, "status"), 7, 7) }, "status"},
		"a list":    {func(dir string) error { return os.Remove(filepath.Join(dir, listFile)) }, "no list"},
		"other dev": {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "root/dev/shm")) }, ""},
	} {
		for _, remembered := range []bool{false, true} {
			t.Run(fmt.Sprint(name, remembered), func(t *testing.T) {
				t.Parallel()
				dir := sample(t)
				if remembered {
					time.Sleep(settled + 10*time.Millisecond)
					if err := Check(dir); err != nil {
						t.Fatal(err)
					}
					if _, err := os.Stat(filepath.Join(dir, stampFile)); err != nil {
						t.Fatalf("the check is not remembered: %v", err)
					}
				}
				if err := c.change(dir); err != nil {
					t.Fatal(err)
				}
				err := Check(dir)
				if name == "a list" && remembered {
					return // nothing was read
				}
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("error is %v; wanted %q in it", err, c.want)
				}
			})
		}
	}
}

func relink(path, target string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

// A cache may be a link to where it is.
func TestLinkToADirectory(t *testing.T) {
	dir, link := sample(t), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := Check(link); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "status")); err != nil {
		t.Fatal(err)
	}
	if err := Check(link); err == nil || !strings.Contains(err.Error(), "status") {
		t.Errorf("error is %v", err)
	}
}

// A check that is remembered reads no file.
func TestRememberedCheckReadsNothing(t *testing.T) {
	dir := sample(t)
	time.Sleep(settled + 10*time.Millisecond)
	if err := Check(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, listFile), []byte("another list\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(dir); err != nil {
		t.Errorf("it was read again: %v", err)
	}
}

// Two runs check one directory at the same time, and each writes its stamp.
func TestChecksAtTheSameTime(t *testing.T) {
	dir := sample(t)
	time.Sleep(settled) // so that each check is remembered
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			for range 100 {
				if err := os.Remove(filepath.Join(dir, stampFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				if err := Check(dir); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
