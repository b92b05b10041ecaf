package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/format/cpio"
)

// archive has a directory of the name and a file in it.
func archive(t testing.TB, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := cpio.NewWriter(&out, time.Unix(0, 0))
	if err := errors.Join(w.Dir(name, 0o755), w.File(name+"/file", 0o644, 5, strings.NewReader("hello")), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func packed(t testing.TB, c Compression, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := c.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// by compresses with the program.
func by(t testing.TB, content []byte, program string, args ...string) []byte {
	t.Helper()
	needs.Programs(t, program)
	out, err := run.Output(t.Context(), run.Cmd{
		Program: program, Args: args, Env: run.HostEnv("PATH"), Stdin: bytes.NewReader(content),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func zeros(n int) []byte { return make([]byte, n) }

// align fills up to a multiple of four.
func align(content []byte) []byte { return append(bytes.Clone(content), zeros(-len(content)&3)...) }

type read struct {
	Segments []Segment
	Names    []string
	Broken   string
}

func readAll(t testing.TB, buffer []byte) read {
	t.Helper()
	var got read
	segments, broken, err := Read(iotest.HalfReader(bytes.NewReader(buffer)), func(_ Segment, m Member, content io.Reader) error {
		got.Names = append(got.Names, m.Name)
		_, err := io.CopyN(io.Discard, content, 2) // a visitor need not read all
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Segments = segments; broken != nil {
		got.Broken = broken.Error()
	}
	return got
}

// TestAnyOrder reads what compressors, also others' ones, make of archives, two by two in all orders.
func TestAnyOrder(t *testing.T) {
	long := bytes.Repeat([]byte("a longer content, for several blocks of everything "), 20000)
	var big bytes.Buffer
	w := cpio.NewWriter(&big, time.Unix(0, 0))
	if err := errors.Join(w.File("big", 0o644, int64(len(long)), bytes.NewReader(long)), w.Close()); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]func(content []byte) []byte{
		"plain":           bytes.Clone,
		"gzip":            func(c []byte) []byte { return packed(t, Gzip, c) },
		"gzip, program":   func(c []byte) []byte { return by(t, c, "gzip", "--best") },
		"zstd":            func(c []byte) []byte { return packed(t, Zstd, c) },
		"zstd, program":   func(c []byte) []byte { return by(t, c, "zstd", "--quiet", "-19") },
		"zstd, unchecked": func(c []byte) []byte { return by(t, c, "zstd", "--quiet", "--no-check", "-1") },
		"xz":              func(c []byte) []byte { return packed(t, XZ, c) },
		"xz, program":     func(c []byte) []byte { return by(t, c, "xz", "--check=crc32", "--stdout") },
		"xz, blocks":      func(c []byte) []byte { return by(t, c, "xz", "--check=crc32", "--block-size=100000", "--stdout") },
		"xz, unchecked":   func(c []byte) []byte { return by(t, c, "xz", "--check=none", "--stdout") },
	}
	firsts, seconds := map[string][]byte{}, map[string][]byte{}
	for name, pack := range kinds {
		firsts[name], seconds[name] = pack(append(big.Bytes(), archive(t, "a")...)), pack(archive(t, "b"))
	}
	for first, a := range firsts {
		for second, b := range seconds {
			buffer := align(a)
			offset := len(buffer)
			buffer = append(append(buffer, b...), zeros(512)...)
			got := readAll(t, buffer)
			if got.Broken != "" || !cmp.Equal(got.Names, []string{"big", "a", "a/file", "b", "b/file"}) {
				t.Errorf("%s, %s: %+v", first, second, got)
				continue
			}
			last := got.Segments[len(got.Segments)-1]
			if last.Offset != int64(offset) || last.Length != int64(len(b)) || last.Members != 2 {
				t.Errorf("%s, %s: the last segment is %+v; wanted it at %d with %d bytes", first, second, last, offset, len(b))
			}
		}
	}
}

func TestBroken(t *testing.T) {
	plain, xz := archive(t, "a"), packed(t, XZ, archive(t, "b"))
	gzip, zstd := packed(t, Gzip, archive(t, "b")), packed(t, Zstd, archive(t, "b"))
	odd := append(bytes.Clone(zstd), zeros(1+(-len(zstd)&3))...) // ends one behind a multiple of four
	members := func(write func(*cpio.Writer) error) []byte {
		var out bytes.Buffer
		w := cpio.NewWriter(&out, time.Unix(0, 0))
		if err := errors.Join(write(w), w.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	rename := func(old, new string) []byte { return bytes.ReplaceAll(bytes.Clone(plain), []byte(old), []byte(new)) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		buffer []byte
		want   string // how the broken rule begins
	}{
		"misaligned plain":         {join(odd, plain), fmt.Sprintf("byte %d: an uncompressed archive begins 1 bytes after a multiple of 4", len(odd))},
		"unpadded compressed":      {join(zstd, gzip, xz), ""},
		"misaligned behind plain":  {join(plain, zeros(2), gzip), fmt.Sprintf("byte %d: the data behind an uncompressed archive begins 2 bytes", len(plain)+2)},
		"old format":               {rename("070701", "070707"), `byte 0: byte 0: cpio magic is "070707", that of cpio's old portable format (odc)`},
		"garbage":                  {join(plain, []byte("garbage")), fmt.Sprintf(`byte %d: "ga" begins neither`, len(plain))},
		"one byte":                 {[]byte("x"), `byte 0: "x" begins neither`},
		"CRC64":                    {by(t, plain, "xz", "--stdout"), "byte 0: xz: its checksum is CRC64 (4), which kernels do not know; make it with xz --check=crc32"},
		"lz4":                      {[]byte("\x02\x21\x4c\x18...."), "byte 0: lz4 is not supported here"},
		"gzip with a comment":      {[]byte("\x1f\x8b\x08\x10......"), "byte 0: gzip: the header has the flags 0x10"},
		"large window":             {by(t, plain, "zstd", "--quiet", "--ultra", "--long=28", "-1", "--no-content-size"), "byte 0: zstd: a window of 268435456 B; wanted at most 134217728"},
		"truncated plain":          {plain[:300], "byte 0: the cpio archive ends at byte 300"},
		"truncated gzip":           {gzip[:len(gzip)-20], "byte 0: gzip: "},
		"truncated zstd":           {zstd[:len(zstd)-10], "byte 0: zstd: "},
		"truncated xz":             {xz[:len(xz)-40], "byte 0: xz: "},
		"flipped bit in xz":        {flipped(xz, len(xz)/2), "byte 0: xz: "},
		"flipped bit in zstd":      {flipped(zstd, len(zstd)/2), "byte 0: zstd: "},
		"flipped bit in gzip":      {flipped(gzip, len(gzip)/2), "byte 0: gzip: "},
		"junk in gzip":             {packed(t, Gzip, join(plain, []byte("junk"))), fmt.Sprintf("byte 0: gzip: junk at decompressed byte %d", len(plain))},
		"misaligned in gzip":       {packed(t, Gzip, join(plain, zeros(3), plain)), fmt.Sprintf("byte 0: gzip: the data behind an archive begins at decompressed byte %d", len(plain)+3)},
		"nothing in gzip":          {packed(t, Gzip, zeros(8)), "byte 0: gzip: contains no archive"},
		"no parent":                {rename("a\x00", "b\x00"), "byte 112: a/file: no directory a before it, so kernels drop it"},
		"parent in an earlier one": {join(plain, rename("a\x00", "x\x00")), ""},
		"parent behind a link": {join(members(func(w *cpio.Writer) error {
			return errors.Join(w.Dir("b", 0o755), w.Symlink("c", "/b"), w.Symlink("x", "./c/../c"))
		}), rename("a/", "x/")), ""},
		"link in a circle": {join(members(func(w *cpio.Writer) error {
			return errors.Join(w.Symlink("x", "y"), w.Symlink("y", "x"))
		}), rename("a/", "x/")), "byte "},
		"directory over a link": {join(members(func(w *cpio.Writer) error {
			return errors.Join(w.Dir("b", 0o755), w.Symlink("a", "b"))
		}), plain), "byte 352: a: a directory takes the place of the symbolic link to b"},
		"wrong checksum": {bytes.Replace(rename("070701", "070702"), []byte("hello"), []byte("hullo"), 1), "byte 0: a/file: checksum of the content is 548; wanted 0"},
		"terminal codes": {rename("a/file", "q/\x1bile"), `byte 112: "q/\x1bile": no directory q`},
	} {
		got := readAll(t, c.buffer)
		if c.want == "" && got.Broken != "" || !strings.HasPrefix(got.Broken, c.want) {
			t.Errorf("%s: broken is %q; wanted %q", name, got.Broken, c.want)
		}
	}
}

func flipped(content []byte, at int) []byte {
	c := bytes.Clone(content)
	c[at] ^= 1
	return c
}

func TestFailureToReadIsNoBrokenRule(t *testing.T) {
	failing := io.MultiReader(bytes.NewReader(archive(t, "a")[:200]), iotest.ErrReader(errors.New("the disk")))
	_, broken, err := Read(failing, func(Segment, Member, io.Reader) error { return nil })
	if broken != nil || err == nil || err.Error() != "the disk" {
		t.Errorf("%v, %v", broken, err)
	}
}

// TestOthersReadIt lists with the programs of others what our compressors make.
func TestOthersReadIt(t *testing.T) {
	judges := toolroottest.Judges(t)
	for _, c := range []Compression{None, Gzip, Zstd, XZ} {
		made := packed(t, c, archive(t, "a"))
		dir := t.TempDir()
		file := dir + "/archive"
		if err := os.WriteFile(file, made, 0o644); err != nil {
			t.Fatal(err)
		}
		for program, args := range map[string][]string{"bsdtar": {"-t", "-f", file}, "lsinitramfs": {file}} {
			var out strings.Builder
			err := judges.Run(t.Context(), toolroot.Cmd{Program: program, Args: args, Read: []string{dir}, Stdout: &out})
			if err != nil || !strings.Contains(out.String(), "a/file\n") {
				t.Errorf("%v, %s: %v %s", c, program, err, out.String())
			}
		}
	}
}

func TestList(t *testing.T) {
	var out strings.Builder
	seen := 0
	err := List(&out, bytes.NewReader(append(align(packed(t, Zstd, archive(t, "a"))), []byte("junk")...)), func(Member, io.Reader) error { seen++; return nil })
	if err == nil || !strings.Contains(err.Error(), "begins neither an archive") {
		t.Errorf("error is %v", err)
	}
	if seen != 2 {
		t.Errorf("%d members were shown; wanted 2", seen)
	}
	length := len(packed(t, Zstd, archive(t, "a")))
	want := fmt.Sprintf("at byte 0: zstd\n  d0755 0 a\n  -0644 5 a/file\n\n%d bytes from byte 0 on: zstd, 2 members\n", length)
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// TestNotCompressedTwice takes content that is compressed already.
func TestNotCompressedTwice(t *testing.T) {
	var content bytes.Buffer
	var state uint32 = 1
	for range 1 << 20 {
		state = state*1664525 + 1013904223
		content.WriteByte(byte(state >> 24))
	}
	for _, c := range []Compression{Gzip, Zstd} {
		if got := len(packed(t, c, content.Bytes())); got > content.Len()+content.Len()/1000 {
			t.Errorf("%v makes %d bytes of %d", c, got, content.Len())
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range []Compression{None, Gzip, Zstd, XZ} {
		one := packed(f, c, archive(f, "a"))
		f.Add(one)
		f.Add(append(align(one), archive(f, "b")...))
	}
	f.Add([]byte("\x02\x21\x4c\x18"))
	f.Fuzz(func(t *testing.T, buffer []byte) {
		segments, broken, err := Read(bytes.NewReader(buffer), func(Segment, Member, io.Reader) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		end := int64(0)
		for _, s := range segments {
			if s.Offset < end || s.Length <= 0 || s.Offset+s.Length > int64(len(buffer)) {
				t.Fatalf("%+v in %d bytes, after %d; %v", s, len(buffer), end, broken)
			}
			end = s.Offset + s.Length
		}
	})
}
