package cpio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

// archive is made by the real program.
func archive(t testing.TB) []byte {
	t.Helper()
	needs.Programs(t, "cpio")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "usr.squashfs"), bytes.Repeat([]byte("content"), 1001), 0o644); err != nil {
		t.Fatal(err)
	}
	made, err := run.Output(t.Context(), run.Cmd{
		Program: "cpio", Args: []string{"--quiet", "--create", "--format=newc"}, Dir: dir, Env: run.HostEnv("PATH"),
		Stdin: strings.NewReader(".\nusr.squashfs\netc\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// read returns names and contents up to an error.
func read(r *Reader) (names []string, contents map[string]int, err error) {
	contents = map[string]int{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, contents, nil
		}
		if err != nil {
			return names, contents, err
		}
		names = append(names, h.Name)
		n, err := io.Copy(io.Discard, r)
		if err != nil {
			return names, contents, err
		}
		contents[h.Name] = int(n)
	}
}

func TestReadsWhatTheProgramMakes(t *testing.T) {
	made := archive(t)
	names, contents, err := read(NewReader(bytes.NewReader(made)))
	if diff := cmp.Diff([]string{".", "usr.squashfs", "etc"}, names); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if contents["usr.squashfs"] != 7007 {
		t.Errorf("contents have %v bytes", contents)
	}
	r := NewReader(bytes.NewReader(made)) // contents need not be read
	for _, want := range names {
		if h, err := r.Next(); err != nil || h.Name != want {
			t.Errorf("%+v, %v; want %s", h, err, want)
		}
	}
}

// member is one of no content in the format.
func member(name string, mode, sum uint32) []byte {
	m := fmt.Appendf(nil, "%s%08x%08x%040x%032x%08x%08x%s\x00", magic, 1, mode, 0, 0, len(name)+1, sum, name)
	return append(m, make([]byte, padding(int64(len(m))))...)
}

func TestRefused(t *testing.T) {
	made := archive(t)
	second := bytes.Index(made[6:], []byte(magic)) + 6
	third := second + 6 + bytes.Index(made[second+6:], []byte(magic))
	change := func(at int, text string) []byte {
		c := bytes.Clone(made)
		copy(c[at:], text)
		return c
	}
	for want, content := range map[string][]byte{
		"cpio archive ends at byte 0":             nil,
		"within a header":                         made[:second+50],
		"within a name":                           made[:second+112],
		"within a content":                        made[:second+1000],
		`wanted "070701"`:                         change(second, "070707"),
		"wanted 8 hexadecimal digits":             change(second+6+8*6, "-1"),
		"cpio name has 4097 bytes":                change(6+8*11, "00001001"),
		"cpio name has 0 bytes":                   change(6+8*11, "00000000"),
		"does not end in its one zero":            change(headerLength+1, "x"),
		"within a content: unexpected ":           change(second+6+8*6, "ffffffff"),
		"cpio inode is \"x":                       change(second+6, "x"),
		"cpio minor number is":                    change(second+6+8*10, "-"),
		"which is no kind of file":                change(second+6+8, "0000f1a4"),
		"wanted content of files and":             change(second+6+8, "000041ed"),
		"in an archive without check":             change(second+6+8*12, "00000001"),
		"content; the end of an archive has none": change(bytes.Index(made, []byte(trailer))-headerLength+6+8*6, "00000001"),
		"fills up a cpio member; wanted zeros":    change(third-1, "x"),
		"has no name":                             member("", 0o100644, 0),
		`has ".." in its name`:                    member("a/../b", 0o100644, 0),
		"is in the archive twice":                 bytes.Join([][]byte{member("a", 0o100644, 0), member("./a", 0o100644, 0)}, nil),
		"archive twice":                           bytes.Join([][]byte{member("a", 0o40755, 0), member("a", 0o100644, 0)}, nil),
	} {
		if _, _, err := read(NewReader(bytes.NewReader(content))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(strings.Repeat("0", headerLength)))
	member := magic + strings.Repeat("00000000", 6) + "00000005" + strings.Repeat("00000000", 4) + "00000002" + "00000000" + "a\x00" + "hello\x00\x00\x00"
	end := magic + strings.Repeat("00000000", 11) + "0000000b" + "00000000" + trailer + "\x00"
	f.Add([]byte(member + end))
	f.Fuzz(func(t *testing.T, content []byte) {
		_, sizes, _ := read(NewReader(bytes.NewReader(content)))
		for name, size := range sizes {
			if size > len(content) || len(name) > maxName {
				t.Fatalf("%q has %d of %d bytes", name, size, len(content))
			}
		}
	})
}
