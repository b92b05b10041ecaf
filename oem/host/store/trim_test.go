package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// filled is a cache in which four blobs, a result and a directory lie that were last used an hour after each other.
type filled struct {
	*Cache
	scratch *Scratch
	blobs   *Blobs
	results *Results
	added   []Blob
	made    string
}

const each = 64 << 10 // bytes of a blob

func fill(t *testing.T) filled {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a [cache]")
	f := filled{made: filepath.Join(dir, "tools-1")}
	var errs [4]error
	f.Cache, errs[0] = OpenCache(dir)
	f.scratch, errs[1] = OpenScratch(filepath.Join(dir, "scratch"))
	f.blobs, errs[2] = OpenBlobs(filepath.Join(dir, "blobs"), f.scratch.Dir)
	f.results, errs[3] = OpenResults(filepath.Join(dir, "results"), f.blobs, nil)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for _, letter := range []string{"a", "b", "c", "d"} {
		f.added = append(f.added, f.step(t, letter))
	}
	f.use(t)
	for hours, path := range []string{f.blobs.Path(f.added[0].SHA256), f.made + ".lock", f.blobs.Path(f.added[1].SHA256),
		f.blobs.Path(f.added[2].SHA256), f.blobs.Path(f.added[3].SHA256)} {
		used := time.Now().Add(time.Duration(hours-10) * time.Hour)
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// step makes a blob, or finds it made.
func (f filled) step(t *testing.T, letter string) Blob {
	t.Helper()
	got, err := Memo(t.Context(), f.results.Step("letters", letter), func(b Blob) []Blob { return []Blob{b} }, func() (Blob, error) {
		d, n, err := f.blobs.Add(strings.NewReader(strings.Repeat(letter, each)))
		return Blob{d, n}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// use makes the directory, or finds it made.
func (f filled) use(t *testing.T) {
	t.Helper()
	err := atomicfile.Dir(f.made, func(temp string) error {
		return errors.Join(os.Mkdir(filepath.Join(temp, "bin"), 0o755), os.WriteFile(filepath.Join(temp, "bin/f"), make([]byte, each), 0o444))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// trim leaves room for some blobs, an hour after the last time, and returns which of the letters' blobs are left, and T for the directory.
func (f filled) trim(t *testing.T, blobs int) string {
	t.Helper()
	if err := os.Remove(filepath.Join(f.dir, trimmed)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return f.trimAgain(t, blobs)
}

// trimAgain is trim without the hour.
func (f filled) trimAgain(t *testing.T, blobs int) string {
	t.Helper()
	if _, err := f.Trim(size.Bytes(blobs)*each, f.scratch, "blobs/*/*", "tools-*"); err != nil {
		t.Fatal(err)
	}
	left := ""
	for i, b := range f.added {
		if _, err := os.Stat(f.blobs.Path(b.SHA256)); err == nil {
			left += string(rune('a' + i))
		}
	}
	if _, err := os.Stat(f.made); err == nil {
		left += "T"
	}
	return left
}

func TestTrimRemovesWhatWasNotUsedForLongest(t *testing.T) {
	for limit, want := range []string{"", "d", "cd", "bcd"} {
		if got := fill(t).trim(t, limit); got != want {
			t.Errorf("with room for %d blobs, %q is left; wanted %q", limit, got, want)
		}
	}
	f := fill(t)
	if got := f.trim(t, 7); got != "abcdT" {
		t.Errorf("with room for all, %q is left", got)
	}
	if got := f.trimAgain(t, 0); got != "abcdT" {
		t.Errorf("trimmed once more within an hour, %q is left", got)
	}
	hourAgo := time.Now().Add(-pause)
	if err := os.Chtimes(filepath.Join(f.dir, trimmed), hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	if got := f.trimAgain(t, 0); got != "" {
		t.Errorf("after an hour, %q is left", got)
	}
}

func TestTrimKnowsWhatWasUsedAgain(t *testing.T) {
	f := fill(t)
	kept, err := fs.Glob(os.DirFS(f.dir), "results/*")
	if err != nil || len(kept) != len(f.added) {
		t.Fatalf("results are %q, %v", kept, err)
	}
	old := time.Now().Add(-24 * time.Hour)
	for i := range kept {
		kept[i] = filepath.Join(f.dir, kept[i])
		path := kept[i]
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	f.step(t, "a")
	f.use(t)
	fresh := slices.DeleteFunc(kept, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || info.ModTime().Equal(old)
	})
	if len(fresh) != 1 {
		t.Errorf("%d results count as used; wanted that of one step", len(fresh))
	}
	if got := f.trim(t, 4); got != "adT" { // directories have blocks of their own, so c has no room
		t.Errorf("%q is left; wanted what was used again, and the newest blob", got)
	}
}

func TestWhatWasTrimmedIsMadeAgain(t *testing.T) {
	f := fill(t)
	if got := f.trim(t, 0); got != "" {
		t.Fatalf("%q is left", got)
	}
	if again := f.step(t, "a"); again != f.added[0] || !f.blobs.Has(digest.Of([]byte(strings.Repeat("a", each))), each) {
		t.Errorf("the step gives %v, whose blob is not there", again)
	}
	f.use(t)
	if _, err := os.Stat(filepath.Join(f.made, "bin/f")); err != nil {
		t.Error(err)
	}
	if err := f.scratch.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.scratch.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was moved away is still there: %v", err)
	}
}

// A cache that another run has open stays as it is, and one that is being trimmed opens only afterwards.
func TestTrimLeavesACacheThatOthersUse(t *testing.T) {
	f := fill(t)
	other, err := OpenCache(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.trim(t, 0); got != "abcdT" {
		t.Errorf("%q is left of what another run may read", got)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if got := f.trim(t, 0); got != "" {
		t.Errorf("%q is left after the other run", got)
	}
	lock, err := os.Open(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("a cache that is being trimmed can be opened: %v", err)
	}
}

// Holes take nothing of the disk, and what is beside the patterns is nobody's to remove.
func TestTrimCountsBlocksAndKeepsToItsPatterns(t *testing.T) {
	f := fill(t)
	sparse, key := filepath.Join(f.dir, "blobs/00/sparse"), filepath.Join(f.dir, "development-key")
	err := errors.Join(os.MkdirAll(filepath.Dir(sparse), 0o755), os.WriteFile(sparse, nil, 0o644), os.Truncate(sparse, 1<<30), os.WriteFile(key, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.trim(t, 7); got != "abcdT" {
		t.Errorf("%q is left beside a file of holes", got)
	}
	f.trim(t, 0)
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Contains(names, "development-key") || !slices.Contains(names, "tools-1.lock") {
		t.Errorf("left are %q", names)
	}
}

// TestTimesOfTheFuture says that a clock that was wrong once does not keep anything for ever.
func TestTimesOfTheFuture(t *testing.T) {
	f := fill(t)
	future := time.Now().AddDate(70, 0, 0)
	if err := os.Chtimes(f.blobs.Path(f.added[3].SHA256), future, future); err != nil {
		t.Fatal(err)
	}
	if got := f.trim(t, 2); got != "bc" {
		t.Errorf("%q is left; wanted bc, of which is known when they were used", got)
	}
	if err := os.Chtimes(filepath.Join(f.dir, trimmed), future, future); err != nil {
		t.Fatal(err)
	}
	if got := f.trimAgain(t, 1); got != "c" {
		t.Errorf("after a trimming in the future, %q is left; wanted c", got)
	}
	path := f.blobs.Path(f.added[2].SHA256)
	if err := os.Chtimes(path, future, future); err != nil {
		t.Fatal(err)
	}
	f.step(t, "c")
	if info, err := os.Stat(path); err != nil || info.ModTime().After(time.Now()) {
		t.Errorf("a use leaves the time at %v, %v", info.ModTime(), err)
	}
}
