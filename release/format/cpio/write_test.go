package cpio

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

var epoch = time.Unix(1700000000, 0)

// written has one of everything.
func written(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, epoch)
	content := bytes.Repeat([]byte("content"), 1001)
	if err := errors.Join(
		w.Parents("etc/extensions/oem-x.raw"),
		w.File("etc/extensions/oem-x.raw", 0o644, int64(len(content)), bytes.NewReader(content)),
		w.File("etc/a", 0o755, 5, strings.NewReader("hello"), "etc/b", "etc/extensions/c"),
		w.File("etc/empty", 0o600, 0, strings.NewReader("")),
		w.Symlink("etc/link", "../a b"),
		w.Close(),
	); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWriterIsAligned(t *testing.T) {
	made := written(t)
	if len(made)%4 != 0 || !bytes.HasSuffix(made, []byte("TRAILER!!!\x00\x00\x00\x00")) {
		t.Errorf("%d bytes, the last ones %q", len(made), made[len(made)-20:])
	}
	if !bytes.Equal(made, written(t)) {
		t.Error("the same content gives other bytes")
	}
	names, contents, err := read(NewReader(bytes.NewReader(made)))
	want := []string{"etc", "etc/extensions", "etc/extensions/oem-x.raw", "etc/a", "etc/b", "etc/extensions/c", "etc/empty", "etc/link"}
	if diff := cmp.Diff(want, names); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if contents["etc/b"] != 0 || contents["etc/extensions/c"] != 5 {
		t.Errorf("the content of hard links is not with the last of them: %v", contents)
	}
}

// TestOthersReadIt unpacks with cpio and bsdtar.
func TestOthersReadIt(t *testing.T) {
	made, judges := written(t), toolroottest.Judges(t)
	for _, program := range []string{"cpio", "bsdtar"} {
		dir := t.TempDir()
		args := []string{"--quiet", "--extract", "--preserve-modification-time", "--no-absolute-filenames", "--directory=" + dir}
		if program == "bsdtar" {
			args = []string{"-x", "-C", dir, "-f", "-"}
		}
		err := judges.Run(t.Context(), toolroot.Cmd{Program: program, Args: args, Write: []string{dir}, Stdin: bytes.NewReader(made)})
		if err != nil {
			t.Errorf("%s: %v", program, err)
		}
		for name, want := range map[string]string{"etc/a": "hello", "etc/b": "hello", "etc/empty": "", "etc/extensions/oem-x.raw": strings.Repeat("content", 1001)} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
				t.Errorf("%s: %s has %d bytes, %v", program, name, len(got), err)
			}
		}
		a, errA := os.Stat(filepath.Join(dir, "etc/a"))
		c, errC := os.Stat(filepath.Join(dir, "etc/extensions/c"))
		if errA != nil || errC != nil || !os.SameFile(a, c) || a.Mode().Perm() != 0o755 || !a.ModTime().Equal(epoch) {
			t.Errorf("%s: hard links are %v and %v; %v %v", program, a, c, errA, errC)
		}
		if target, err := os.Readlink(filepath.Join(dir, "etc/link")); err != nil || target != "../a b" {
			t.Errorf("%s: the link leads to %q, %v", program, target, err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	empty := strings.NewReader("")
	for want, write := range map[string]func(*Writer) error{
		`"/etc" in an archive; wanted a clean path`:        func(w *Writer) error { return w.Dir("/etc", 0o755) },
		`"../x" in an archive`:                             func(w *Writer) error { return w.Dir("../x", 0o755) },
		`"a/../x" in an archive`:                           func(w *Writer) error { return w.Dir("a/../x", 0o755) },
		`"" in an archive`:                                 func(w *Writer) error { return w.Dir("", 0o755) },
		"where it means the end":                           func(w *Writer) error { return w.File(trailer, 0o644, 0, empty) },
		"a name of 256 bytes":                              func(w *Writer) error { return w.Dir(strings.Repeat("x", 256), 0o755) },
		"d twice":                                          func(w *Writer) error { return errors.Join(w.Dir("d", 0o755), w.Dir("d", 0o755)) },
		"etc/x without a directory etc before it":          func(w *Writer) error { return w.File("etc/x", 0o644, 0, empty) },
		"f/x without a directory f before it":              func(w *Writer) error { return errors.Join(w.File("f", 0o644, 0, empty), w.Dir("f/x", 0o755)) },
		"big has 4294967296 B, and the archive can say":    func(w *Writer) error { return w.File("big", 0o644, math.MaxUint32+1, empty) },
		"short: has 0 B; wanted 5":                         func(w *Writer) error { return w.File("short", 0o644, 5, empty) },
		"long: has more than 5 B":                          func(w *Writer) error { return w.File("long", 0o644, 5, strings.NewReader("123456")) },
		"odd has mode 40000; wanted permissions":           func(w *Writer) error { return w.File("odd", 0o40000, 0, empty) },
		"link is a symbolic link with a target of 0 bytes": func(w *Writer) error { return w.Symlink("link", "") },
	} {
		if err := write(NewWriter(io.Discard, epoch)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; wanted %q", err, want)
		}
	}
	if err := NewWriter(io.Discard, time.Unix(-1, 0)).Dir("d", 0o755); err == nil {
		t.Error("a time before 1970 is written")
	}
}
