package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

func TestBlobIsVerifiedOnRead(t *testing.T) {
	blobs, err := OpenBlobs(t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, n, err := blobs.Add(strings.NewReader("content"))
	if err != nil || n != 7 || d != digest.Of([]byte("content")) || !blobs.Has(d, 7) || blobs.Has(d, 6) {
		t.Fatalf("added %v, %d, %v", d, n, err)
	}
	var out bytes.Buffer
	if err := blobs.CopyTo(&out, d); err != nil || out.String() != "content" {
		t.Fatalf("read %q, %v", out.String(), err)
	}
	if err := os.WriteFile(blobs.Path(d), []byte("c0ntent"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := blobs.CopyTo(&out, d); err == nil || blobs.Has(d, 7) {
		t.Errorf("a damaged blob gave %v and is still there: %v", err, blobs.Has(d, 7))
	}
}

func TestAddFileMoves(t *testing.T) {
	blobs, _ := OpenBlobs(t.TempDir(), t.TempDir())
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, _, err := blobs.AddFile(path)
	if _, gone := os.Stat(path); err != nil || !blobs.Has(d, 1) || !errors.Is(gone, os.ErrNotExist) {
		t.Errorf("error %v, file %v", err, gone)
	}
}

func TestLocal(t *testing.T) {
	results, err := OpenResults(t.TempDir(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	runs, usable := 0, true
	step := func(input string) string {
		got, err := Local(results.Step("greet", input), func(string) bool { return usable }, func() (string, error) {
			runs++
			return "hello " + input, nil
		})
		if err != nil || got != "hello "+input {
			t.Fatalf("got %q, %v", got, err)
		}
		return got
	}
	step("a")
	step("a")
	step("b")
	if runs != 2 {
		t.Errorf("%d runs for two inputs; want 2", runs)
	}
	usable = false
	if step("a"); runs != 3 {
		t.Errorf("a result that is not usable was used")
	}
	usable = true
	files, _ := filepath.Glob(filepath.Join(results.dir, "greet-*"))
	for _, file := range files {
		content, _ := os.ReadFile(file)
		if err := os.WriteFile(file, bytes.ReplaceAll(content, []byte("hello"), []byte("hallo")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if step("a"); runs != 4 {
		t.Errorf("a damaged result was used")
	}
	failed := errors.New("failed")
	for range 2 {
		_, err := Local(results.Step("fail", 1), func(int) bool { return true }, func() (int, error) { runs++; return 0, failed })
		if !errors.Is(err, failed) {
			t.Errorf("error is %v", err)
		}
	}
	if runs != 6 {
		t.Errorf("a failure was kept")
	}
}

func TestScratchOfKilledRunsIsRemoved(t *testing.T) {
	dir := t.TempDir()
	living, err := OpenScratch(dir)
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "run.dead")
	if err := os.MkdirAll(filepath.Join(dead, "half"), 0o755); err != nil {
		t.Fatal(err)
	}
	next, err := OpenScratch(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed run left is there: %v", err)
	}
	if _, err := os.Stat(living.Dir); err != nil {
		t.Errorf("the work of a living run is gone: %v", err)
	}
	if err := errors.Join(living.Close(), next.Close()); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
