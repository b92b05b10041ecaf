package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestFailedWriteKeepsWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := WriteBytes(path, 0o640, []byte("old")); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("cut")
	err := Write(path, 0o640, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half of the n"); err != nil {
			return err
		}
		return cut
	})
	if !errors.Is(err, cut) {
		t.Fatalf("error is %v", err)
	}
	content, _ := os.ReadFile(path)
	entries, _ := os.ReadDir(dir)
	if string(content) != "old" || len(entries) != 1 {
		t.Errorf("after the failure: content %q, %d files; want the old content alone", content, len(entries))
	}
	info, _ := os.Stat(path)
	if info.Mode().Perm() != 0o640 {
		t.Errorf("mode is %v", info.Mode())
	}
}

func TestDirIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	failed := errors.New("failed")
	if err := Dir(dir, func(string) error { return failed }); !errors.Is(err, failed) {
		t.Fatalf("error is %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failed directory is there: %v", err)
	}
	half := filepath.Join(filepath.Dir(dir), ".d.new")
	if err := os.MkdirAll(filepath.Join(half, "left by a killed process"), 0o755); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	var made atomic.Int32
	for range 4 {
		wait.Go(func() {
			err := Dir(dir, func(temp string) error {
				made.Add(1)
				return os.WriteFile(filepath.Join(temp, "f"), nil, 0o600)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	entries, _ := os.ReadDir(dir)
	if made.Load() != 1 || len(entries) != 1 || entries[0].Name() != "f" {
		t.Errorf("made %d times, holds %v", made.Load(), entries)
	}
}
