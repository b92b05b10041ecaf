package stamp

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// A file is read again after every kind of change, also when its length and time of modification were put back.
func TestChangesAreSeen(t *testing.T) {
	dir := t.TempDir()
	file, list := filepath.Join(dir, "file"), filepath.Join(dir, "stamps")
	old := time.Now().Add(-time.Hour)
	write := func(content string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, []byte(content), 0o644), os.Chtimes(file, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(s *Stamps, want string) {
		t.Helper()
		if got, err := s.Digest(file); err != nil || got != digest.Of([]byte(want)) {
			t.Errorf("the digest is %v, %v; wanted that of %q", got, err, want)
		}
	}
	write("one")
	s := Open(list)
	check(s, "one")
	write("two") // less than a second later: nothing was remembered
	check(s, "two")
	time.Sleep(settled + 100*time.Millisecond)
	check(s, "two")
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	s = Open(list)
	if s.known[file].SHA256 != digest.Of([]byte("two")) {
		t.Errorf("remembered are %+v", s.known)
	}
	// What is remembered is what is returned, so that the next check means something.
	lie := s.known[file]
	lie.SHA256 = digest.Of([]byte("a lie"))
	s.known[file] = lie
	check(s, "a lie")
	write("six")
	check(s, "six")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Digest(file); err == nil {
		t.Error("a file that is gone has a digest")
	}
	if err := errors.Join(os.WriteFile(list, []byte("{"), 0o644), s.Save()); err != nil || len(Open(list).known) != 0 {
		t.Errorf("%v, %+v", err, Open(list).known)
	}
}
