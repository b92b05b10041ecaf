package archive

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

// zipped is one entry of a zip archive.
type zipped struct {
	name, content string
	mode          fs.FileMode
}

func zipOf(t testing.TB, entries ...zipped) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: built}
		header.SetMode(e.mode)
		content, err := w.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(content, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unzip(archive []byte, root *os.Root) error {
	return Zip(bytes.NewReader(archive), int64(len(archive)), root, Options{Name: "test.zip"})
}

func TestZip(t *testing.T) {
	needs.Root(t) // entries belong to the superuser
	root := openRoot(t)
	archive := zipOf(t,
		zipped{"tool/", "", fs.ModeDir | 0o750},
		zipped{"tool/bin", "program", 0o755},
		zipped{"tool/link", "bin", fs.ModeSymlink | 0o777},
		zipped{"other/setuid", "x", fs.ModeSetuid | 0o755},
	)
	if err := unzip(archive, root); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"drwxr-xr-x other",
		"urwxr-xr-x other/setuid x",
		"drwxr-x--- tool",
		"-rwxr-xr-x tool/bin program",
		"Lrwxrwxrwx tool/link -> bin",
	}
	if diff := cmp.Diff(want, listing(t, root)); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
}

func TestZipOfInfoZip(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, "python3")
	const script = "import sys, zipfile\nwith zipfile.ZipFile(sys.stdout.buffer, 'w') as z: z.writestr('a/b', 'text' * 999, zipfile.ZIP_DEFLATED)"
	archive, err := run.Output(t.Context(), run.Cmd{Program: "python3", Args: []string{"-c", script}, Env: run.HostEnv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	root := openRoot(t)
	if err := unzip(archive, root); err != nil {
		t.Fatal(err)
	}
	if content, err := root.ReadFile("a/b"); err != nil || string(content) != strings.Repeat("text", 999) {
		t.Errorf("%d bytes, %v", len(content), err)
	}
}

// stuffed is an archive with an entry that has more bytes than its content needs.
func stuffed(t *testing.T) []byte {
	t.Helper()
	var packed, out bytes.Buffer
	deflate, err := flate.NewWriter(&packed, 9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deflate.Write([]byte("x")); err != nil || deflate.Close() != nil {
		t.Fatal(err)
	}
	packed.WriteString("more")
	w := zip.NewWriter(&out)
	content, err := w.CreateRaw(&zip.FileHeader{
		Name: "f", Method: zip.Deflate, CRC32: crc32.ChecksumIEEE([]byte("x")), UncompressedSize64: 1, CompressedSize64: uint64(packed.Len()),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := content.Write(packed.Bytes()); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestZipRefuses(t *testing.T) {
	good := zipOf(t, zipped{"f", strings.Repeat("content", 100), 0o644}, zipped{"g", "x", 0o644})
	altered := bytes.Clone(good)
	altered[45] ^= 16 // in the compressed bytes
	encrypted := bytes.Clone(good)
	directory := bytes.Index(encrypted, []byte("PK\x01\x02"))
	encrypted[directory+8] |= 1
	longer := bytes.Clone(good)
	longer[directory+24]++ // the size after unpacking
	overlapping := bytes.Clone(good)
	second := directory + 1 + bytes.Index(overlapping[directory+1:], []byte("PK\x01\x02"))
	copy(overlapping[second+42:second+46], overlapping[directory+42:directory+46]) // where its bytes are
	copy(overlapping[second+16:second+28], overlapping[directory+16:directory+28]) // and how many
	changed := func(at int, with string) []byte {
		c := bytes.Clone(good)
		copy(c[at:], with)
		return c
	}
	local := bytes.LastIndex(good, []byte("PK\x03\x04"))
	var many []zipped
	for i := range MaxEntries + 1 {
		many = append(many, zipped{fmt.Sprint(i), "", 0o644})
	}
	for _, test := range []struct {
		name    string
		archive []byte
		says    string
	}{
		{"dot dot", zipOf(t, zipped{"../f", "", 0o644}), `test.zip: entry "../f": the name has ".."`},
		{"absolute link below", zipOf(t, zipped{"l", "/etc", fs.ModeSymlink}, zipped{"l/f", "", 0o644}), `"l" is not a directory`},
		{"link that climbs out", zipOf(t, zipped{"l", "../../etc", fs.ModeSymlink}), "leads out of the root"},
		{"link with a long target", zipOf(t, zipped{"l", strings.Repeat("x", 1<<20), fs.ModeSymlink}), "wanted at most 1024"},
		{"not UTF-8", zipOf(t, zipped{"a\xff", "", 0o644}), "not UTF-8"},
		{"twice", zipOf(t, zipped{"f", "", 0o644}, zipped{"./f", "", 0o644}), "two entries of this name"},
		{"device", zipOf(t, zipped{"d", "", fs.ModeDevice | 0o644}), "is a device"},
		{"fifo", zipOf(t, zipped{"p", "", fs.ModeNamedPipe | 0o644}), "is a fifo"},
		{"altered", altered, `test.zip: entry "f"`},
		{"encrypted", encrypted, "is encrypted"},
		{"longer than it says", longer, `test.zip: entry "f"`},
		{"overlapping", overlapping, "use the same bytes"},
		{"another name before it", changed(local+30, "h"), `entry "g": the header before its content has another name`},
		{"another method before it", changed(local+8, "\x00"), "other flags or another method"},
		{"bytes before", append([]byte("#!/bin/sh\n"), good...), "bytes that belong to no entry"},
		{"bytes after", append(bytes.Clone(good), 0), "bytes after the end of the archive"},
		{"an entry that the directory lacks", bytes.Replace(good, []byte("PK\x01\x02"), append([]byte("PK\x03\x04"+strings.Repeat("\x00", 26)), "PK\x01\x02"...), 1), "zip: not a valid"},
		{"backslash", zipOf(t, zipped{`a\b`, "", 0o644}), "wanted slashes"},
		{"absolute", zipOf(t, zipped{"/a", "", 0o644}), "is absolute"},
		{"more than its content", stuffed(t), "bytes after the end of its compressed content"},
		{"cut", good[:len(good)-30], "test.zip: zip: not a valid zip file"},
		{"empty", nil, "test.zip: zip: not a valid zip file"},
		{"many entries", zipOf(t, many...), "more than 50000 entries"},
		{"bomb", zipOf(t, zipped{"f", strings.Repeat("\x00", int(MaxFree)+1), 0o644}), "decompression bomb"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := unzip(test.archive, openRoot(t)); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestZipDirectoryThatIsTooLarge(t *testing.T) {
	budget := &readBudget{file: bytes.NewReader(nil), left: 10}
	if _, err := budget.ReadAt(make([]byte, 11), 0); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("error is %v", err)
	}
}

func FuzzZip(f *testing.F) {
	f.Add(zipOf(f, zipped{"d/", "", fs.ModeDir | 0o755}, zipped{"d/f", "content", 0o755}, zipped{"d/l", "f", fs.ModeSymlink}))
	f.Add(zipOf(f, zipped{"l", "../x", fs.ModeSymlink}, zipped{"l/../y", "", 0o644}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		staysInside(t, func(root *os.Root) error { return unzip(archive, root) })
	})
}
