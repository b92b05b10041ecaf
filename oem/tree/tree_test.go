package tree

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

func dir(path string) Entry { return Entry{Path: path, Type: Dir, Mode: 0o755} }

func file(path, content string) Entry {
	return Entry{Path: path, Type: File, Mode: 0o644, Size: int64(len(content)), SHA256: digest.Of([]byte(content))}
}

func TestMerge(t *testing.T) {
	a := Tree{dir("/usr"), file("/usr/a", "1"), file("/usr/same", "s"), file("/usr/two", "a")}
	b := Tree{dir("/usr"), file("/usr/b", "2"), file("/usr/same", "s"), file("/usr/two", "b")}
	merged, conflicts := Merge(a, b)
	want := Tree{dir("/usr"), file("/usr/a", "1"), file("/usr/b", "2"), file("/usr/same", "s"), file("/usr/two", "a")}
	if diff := cmp.Diff(want, merged); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Conflict{{file("/usr/two", "a"), file("/usr/two", "b")}}, conflicts); diff != "" {
		t.Error(diff)
	}
	executable := file("/usr/same", "s")
	executable.Mode = 0o755
	if _, conflicts := Merge(a, Tree{executable}); len(conflicts) != 1 {
		t.Error("another mode is no conflict")
	}
	labelled := file("/usr/same", "s")
	labelled.Xattrs = map[string][]byte{"user.x": nil}
	if _, conflicts := Merge(a, Tree{labelled}); len(conflicts) != 1 {
		t.Error("another xattr is no conflict")
	}
}

func TestFilterDropsWhatItEmptied(t *testing.T) {
	all := Tree{
		dir("/usr"), dir("/usr/doc"), dir("/usr/doc/x"), file("/usr/doc/x/a", "1"),
		dir("/usr/empty"), dir("/usr/lib"), file("/usr/lib/b", "2"),
	}
	got := all.Filter(func(e Entry) bool { return !strings.HasPrefix(e.Path, "/usr/doc") })
	want := Tree{dir("/usr"), dir("/usr/empty"), dir("/usr/lib"), file("/usr/lib/b", "2")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := all.Filter(func(Entry) bool { return true }); !cmp.Equal(all, got) {
		t.Error(cmp.Diff(all, got))
	}
	if got := all.Filter(func(e Entry) bool { return e.Type != Dir }); len(got) != 6 {
		t.Errorf("parents are missing: %v", got)
	}
}

func TestScanAndTar(t *testing.T) {
	root := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll(filepath.Join(root, "usr/bin.d"), 0o755))
	check(os.Mkdir(filepath.Join(root, "usr/bin"), 0o755))
	check(os.WriteFile(filepath.Join(root, "usr/bin/su"), []byte("elf"), 0o755))
	check(os.Chmod(filepath.Join(root, "usr/bin/su"), 0o755|os.ModeSetuid))
	check(unix.Setxattr(filepath.Join(root, "usr/bin/su"), "user.note", []byte{0, 1}, 0))
	check(os.Symlink("/nowhere", filepath.Join(root, "usr/bin/link")))
	got, err := Scan(root, digest.OfReader)
	check(err)
	for i := range got {
		got[i].UID, got[i].GID = 0, 0
	}
	su := file("/usr/bin/su", "elf")
	su.Mode, su.Xattrs = 0o4755, map[string][]byte{"user.note": {0, 1}}
	want := Tree{dir("/usr"), dir("/usr/bin"), dir("/usr/bin.d"), {Path: "/usr/bin/link", Type: Symlink, Mode: 0o777, Target: "/nowhere"}, su}
	if diff := cmp.Diff(want, Sorted(got)); diff != "" {
		t.Error(diff)
	}

	var archive bytes.Buffer
	check(got.WriteTar(&archive, time.Unix(7, 0), func(w io.Writer, _ digest.SHA256) error {
		_, err := io.WriteString(w, "elf")
		return err
	}))
	var names []string
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		check(err)
		names = append(names, h.Name)
		if h.Name == "./usr/bin/su" && (h.Mode != 0o4755 || h.PAXRecords["SCHILY.xattr.user.note"] != "\x00\x01" || h.ModTime.Unix() != 7) {
			t.Errorf("header is %+v", h)
		}
	}
	if diff := cmp.Diff([]string{"./", "./usr/", "./usr/bin/", "./usr/bin.d/", "./usr/bin/link", "./usr/bin/su"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestScanRefusesFIFO(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Scan(root, digest.OfReader); err == nil || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("error is %v", err)
	}
}

// TestTreesOfOthers says that what is read as a tree can be laid out as files.
func TestTreesOfOthers(t *testing.T) {
	good := `{"path":"/usr","type":"d","mode":493},{"path":"/usr/a","type":"-","mode":420},{"path":"/usr/l","type":"l","mode":511,"target":"a"}`
	for entries, want := range map[string]string{
		good:                                     "",
		`{"path":"/usr/a","type":"-"}`:           "lacks its directory /usr",
		`{"path":"/usr/../../etc/x","type":"-"}`: "wanted an absolute and clean path",
		`{"path":"usr","type":"d"}`:              "wanted an absolute and clean path",
		`{"path":"/","type":"d"}`:                "wanted an absolute and clean path",
		good + `,{"path":"/usr/l/x","type":"-"}`: `is below "/usr/l", which is no directory`,
		good + `,{"path":"/usr/l-","type":"d"},{"path":"/usr/l/x/y","type":"-"}`: `is below "/usr/l"`,
		good + `,{"path":"/usr/l","type":"d"}`:                                   "is twice, or not in the order",
		good + `,{"path":"/bin","type":"d"}`:                                     "is twice, or not in the order",
		`{"path":"/usr","type":"b"}`:                                             `has the type "b"`,
		`{"path":"/usr","type":"d","mode":4096000}`:                              "has mode",
		`{"path":"/usr","type":"l"}`:                                             `the target ""`,
		`{"path":"/usr","type":"d","target":"/etc"}`:                             `the target "/etc"`,
	} {
		var read Tree
		err := json.Unmarshal([]byte("["+entries+"]"), &read)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v; wanted %q", entries, err, want)
		}
	}
}

// TestWritersRefuseTreesWithoutParents says that no writer makes up a directory.
func TestWritersRefuseTreesWithoutParents(t *testing.T) {
	nothing := func(io.Writer, digest.SHA256) error { return nil }
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, orphan := range []Tree{
		{file("/usr/a", "")},
		{dir("/usr"), file("/usr/share/a", "")},
		{dir("/usr"), file("/usr/share", ""), file("/usr/share/a", "")},
		{file("/usr/a", ""), dir("/usr")},
	} {
		for name, err := range map[string]error{
			"tar": orphan.WriteTar(io.Discard, time.Unix(0, 0), nothing), "directory": orphan.WriteTo(root, nothing),
		} {
			if err == nil || !strings.Contains(err.Error(), "the tree lacks its directory /usr") {
				t.Errorf("%s of %v: error is %v", name, orphan, err)
			}
		}
	}
}
