package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
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
