package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

var built = time.Unix(1_700_000_000, 123_000_000)

// entry is a tar entry with its content.
type entry struct {
	tar.Header
	content string
}

func file(name, content string, mode int64) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, content}
}

func dir(name string, mode int64) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}}
}

func symlink(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

func hardLink(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}

func special(name string, kind byte) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o644}}
}

// tarOf writes a tar archive. Owners are the caller's, so that any user can run the tests.
func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		e.ModTime, e.Size, e.Format = built, int64(len(e.content)), tar.FormatPAX
		if e.Uid == 0 && e.Gid == 0 {
			e.Uid, e.Gid = os.Getuid(), os.Getgid()
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func openRoot(t testing.TB) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// listing describes what is in a directory: mode, time, content or target.
func listing(t testing.TB, root *os.Root) []string {
	t.Helper()
	var lines []string
	err := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%v %s", info.Mode(), path)
		switch {
		case info.Mode().IsRegular():
			content, err := root.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + string(content)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := root.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		if info.ModTime().Equal(built) {
			line += " (built)"
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestTar(t *testing.T) {
	root := openRoot(t)
	stream := tarOf(t,
		dir("./", 0o755),
		dir("./usr/", 0o755),
		dir("./usr/locked/", 0o555),
		file("./usr/locked/f", "inside", 0o4755),
		file("/usr/bin/leading", "slash", 0o600),
		symlink("./usr/bin/absolute", "/etc/alternatives/x"),
		symlink("./usr/bin/up", "../locked/f"),
		hardLink("./usr/bin/same", "./usr/locked/f"),
		hardLink("./usr/bin/again", "usr/bin/same"),
		dir("./usr/", 0o711),
	)
	if err := Tar(bytes.NewReader(stream), root, Options{Name: "test.tar"}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"drwx--x--x usr (built)",
		"drwxr-xr-x usr/bin",
		"Lrwxrwxrwx usr/bin/absolute -> /etc/alternatives/x (built)",
		"urwxr-xr-x usr/bin/again inside (built)",
		"-rw------- usr/bin/leading slash (built)",
		"urwxr-xr-x usr/bin/same inside (built)",
		"Lrwxrwxrwx usr/bin/up -> ../locked/f (built)",
		"dr-xr-xr-x usr/locked (built)",
		"urwxr-xr-x usr/locked/f inside (built)",
	}
	if diff := cmp.Diff(want, listing(t, root)); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
	if err := root.Chmod("usr/locked", 0o755); err != nil { // so that it can be removed
		t.Fatal(err)
	}
}

func TestKeepAndPath(t *testing.T) {
	root := openRoot(t)
	stream := tarOf(t,
		file("top/bin/a", "a", 0o755),
		special("top/dev", tar.TypeChar), // not kept, so not refused
		hardLink("top/bin/b", "top/bin/a"),
	)
	err := Tar(bytes.NewReader(stream), root, Options{
		Name: "test.tar",
		Path: func(name string) string { return strings.TrimPrefix(name, "top/") },
		Keep: func(h *tar.Header) bool { return strings.HasPrefix(h.Name, "bin/") },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"drwxr-xr-x bin", "-rwxr-xr-x bin/a a (built)", "-rwxr-xr-x bin/b a (built)"}
	if diff := cmp.Diff(want, listing(t, root)); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
}

func TestOwnersAndCapabilities(t *testing.T) {
	needs.Root(t)
	root := openRoot(t)
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw=ep
	withCapability := file("ping", "x", 0o2755)
	withCapability.Uid, withCapability.Gid = 101, 102
	withCapability.PAXRecords = map[string]string{
		xattrPrefix + "security.capability": capability,
		xattrPrefix + "security.selinux":    "label",
	}
	link := symlink("link", "ping")
	link.Uid, link.Gid = 103, 104
	if err := Tar(bytes.NewReader(tarOf(t, withCapability, link)), root, Options{Name: "test.tar"}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	path := filepath.Join(root.Name(), "ping")
	if err := unix.Lstat(path, &st); err != nil || st.Uid != 101 || st.Gid != 102 || st.Mode&0o7777 != 0o2755 {
		t.Errorf("file: %d:%d %o, %v", st.Uid, st.Gid, st.Mode, err)
	}
	value := make([]byte, 64)
	if n, err := unix.Lgetxattr(path, "security.capability", value); err != nil || string(value[:n]) != capability {
		t.Errorf("capability is %x, %v", value[:max(n, 0)], err)
	}
	if err := unix.Lstat(filepath.Join(root.Name(), "link"), &st); err != nil || st.Uid != 103 || st.Gid != 104 {
		t.Errorf("link: %d:%d, %v", st.Uid, st.Gid, err)
	}
}

func TestTarRefuses(t *testing.T) {
	withXattr := file("f", "", 0o644)
	withXattr.PAXRecords = map[string]string{xattrPrefix + "trusted.overlay.opaque": "y"}
	for _, test := range []struct {
		name    string
		entries []entry
		says    string
	}{
		{"dot dot", []entry{file("usr/../../etc/passwd", "", 0o644)}, `has ".."`},
		{"dot dot alone", []entry{dir("..", 0o755)}, `has ".."`},
		{"newline", []entry{file("a\nb", "", 0o644)}, "control characters"},
		{"not UTF-8", []entry{file("a\xff", "", 0o644)}, "not UTF-8"},
		{"twice", []entry{file("a", "1", 0o644), file("./a", "2", 0o644)}, "two entries of this name"},
		{"file over directory", []entry{dir("a", 0o755), file("a", "", 0o644)}, "two entries of this name"},
		{"directory over file", []entry{file("a", "", 0o644), dir("a", 0o755)}, "two entries of this name"},
		{"link over directory", []entry{dir("a", 0o755), symlink("a", "b")}, "two entries of this name"},
		{"file below a file", []entry{file("a", "", 0o644), file("a/b", "", 0o644)}, "not a directory"},
		{"file below a link", []entry{dir("d", 0o755), symlink("l", "d"), file("l/f", "", 0o644)}, `"l" is not a directory`},
		{"file below an absolute link", []entry{symlink("l", "/etc"), file("l/f", "", 0o644)}, `"l" is not a directory`},
		{"link that climbs out", []entry{symlink("a/l", "../../etc/passwd")}, "leads out of the root"},
		{"link that climbs out and back", []entry{symlink("a/l", "../../x/a/f")}, "leads out of the root"},
		{"link to nothing", []entry{symlink("l", "")}, "empty name or target"},
		{"hard link outside", []entry{hardLink("l", "../../etc/passwd")}, `has ".."`},
		{"hard link to what is not there", []entry{hardLink("l", "etc/passwd")}, "not a regular file unpacked"},
		{"hard link to a later file", []entry{hardLink("l", "f"), file("f", "", 0o644)}, "not a regular file unpacked"},
		{"hard link to a link", []entry{symlink("s", "/etc/shadow"), hardLink("l", "s")}, "not a regular file unpacked"},
		{"hard link to itself", []entry{hardLink("l", "l")}, "not a regular file unpacked"},
		{"character device", []entry{special("null", tar.TypeChar)}, "is a device"},
		{"block device", []entry{special("sda", tar.TypeBlock)}, "is a device"},
		{"fifo", []entry{special("pipe", tar.TypeFifo)}, "is a fifo"},
		{"unknown type", []entry{special("x", 'Q')}, "has the type"},
		{"xattr of overlayfs", []entry{withXattr}, "trusted.overlay.opaque"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Tar(bytes.NewReader(tarOf(t, test.entries...)), openRoot(t), Options{Name: "test.tar"})
			var refused *EntryError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("error is %v; wanted one about an entry that says %q", err, test.says)
			}
			if last := test.entries[len(test.entries)-1].Name; refused.Archive != "test.tar" || refused.Entry != last && test.name != "hard link to a later file" {
				t.Errorf("error names %q, %q", refused.Archive, refused.Entry)
			}
		})
	}
}

// What an earlier archive, or the caller, put there is not replaced or written through.
func TestTarKeepsWhatIsThere(t *testing.T) {
	root := openRoot(t)
	outside := t.TempDir()
	if err := root.Symlink(outside, "out"); err != nil {
		t.Fatal(err)
	}
	if err := root.WriteFile("there", []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, e := range []entry{file("out/f", "", 0o644), file("there", "after", 0o644), symlink("there", "x"), dir("out", 0o777)} {
		if err := Tar(bytes.NewReader(tarOf(t, e)), root, Options{Name: "test.tar"}); err == nil {
			t.Errorf("%s was accepted", e.Name)
		}
	}
	if content, _ := root.ReadFile("there"); string(content) != "before" {
		t.Errorf("replaced by %q", content)
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("wrote %v outside", left)
	}
}

func TestUmaskDoesNotMatter(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	root := openRoot(t)
	if err := Tar(bytes.NewReader(tarOf(t, file("a/b", "", 0o666))), root, Options{Name: "test.tar"}); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, root); got[0] != "drwxr-xr-x a" || !strings.HasPrefix(got[1], "-rw-rw-rw- a/b") {
		t.Errorf("got %v", got)
	}
}

// compressors are the real programs.
var compressors = map[string][]string{
	"gzip": {"gzip", "-c"}, "xz": {"xz", "-c"}, "zstd": {"zstd", "-c", "-19"}, "bzip2": {"bzip2", "-c"}, "plain": {"cat"},
}

// compressed runs one of them.
func compressed(t *testing.T, command []string, content []byte) []byte {
	t.Helper()
	needs.Programs(t, command[0])
	out, err := run.Output(t.Context(), run.Cmd{
		Program: command[0], Args: command[1:], Env: run.HostEnv("PATH"), Stdin: bytes.NewReader(content),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCompressions(t *testing.T) {
	plain := tarOf(t, file("f", strings.Repeat("text ", 10_000), 0o644), file("g", "x", 0o644))
	for name, command := range compressors {
		t.Run(name, func(t *testing.T) {
			stream := compressed(t, command, plain)
			if err := Tar(bytes.NewReader(stream), openRoot(t), Options{Name: "test.tar"}); err != nil {
				t.Fatal(err)
			}
			// However much is missing at the end, it is noticed.
			for _, missing := range []int{1, 4, 8, 600, len(stream) / 2, len(stream) - 7} {
				if len(stream) > missing {
					if err := Tar(bytes.NewReader(stream[:len(stream)-missing]), openRoot(t), Options{Name: "test.tar"}); err == nil {
						t.Errorf("accepted without its last %d of %d bytes", missing, len(stream))
					}
				}
			}
		})
	}
}

func TestBytesAfterTheEnd(t *testing.T) {
	plain := tarOf(t, file("f", "x", 0o644))
	padded := append(bytes.Clone(plain), make([]byte, 10_240)...)
	if err := Tar(bytes.NewReader(padded), openRoot(t), Options{Name: "test.tar"}); err != nil {
		t.Errorf("zero padding: %v", err)
	}
	hidden := append(bytes.Clone(plain), tarOf(t, file("hidden", "x", 0o644))...)
	if err := Tar(bytes.NewReader(hidden), openRoot(t), Options{Name: "test.tar"}); !errors.Is(err, errTrailing) {
		t.Errorf("a second archive: %v", err)
	}
}

func TestSizeThatLies(t *testing.T) {
	plain := tarOf(t, file("f", "12345", 0o644))
	long := tarOf(t, file("f", strings.Repeat("x", 5000), 0o644))
	lying := append(bytes.Clone(long[:len(long)-1024-5120]), plain[len(plain)-1536:]...) // says 5000, holds 5
	if err := Tar(bytes.NewReader(lying), openRoot(t), Options{Name: "test.tar"}); !errors.Is(err, errCut) {
		t.Errorf("error is %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Run("announced bytes", func(t *testing.T) {
		var stream bytes.Buffer
		w := tar.NewWriter(&stream)
		header := tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(MaxBytes) + 1, Uid: os.Getuid(), Gid: os.Getgid()}
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if err := Tar(&stream, openRoot(t), Options{Name: "test.tar"}); !errors.Is(err, errTooLarge) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("stream", func(t *testing.T) {
		lots := meter{packed: func() int64 { return int64(MaxBytes) }}
		if _, err := io.Copy(io.Discard, &meteredReader{endless{}, &lots}); !errors.Is(err, errTooLarge) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("entries", func(t *testing.T) {
		many := make([]entry, 100_000)
		for i := range many {
			many[i] = dir(fmt.Sprintf("d/%d", i), 0o755)
		}
		err := Tar(bytes.NewReader(tarOf(t, many...)), openRoot(t), Options{Name: "test.tar", Keep: func(*tar.Header) bool { return false }})
		if !errors.Is(err, errEntries) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("long names", func(t *testing.T) {
		fits := strings.Repeat("x", MaxPart)
		if err := Tar(bytes.NewReader(tarOf(t, file(fits, "", 0o644))), openRoot(t), Options{}); err != nil {
			t.Errorf("%d bytes: %v", len(fits), err)
		}
		for _, name := range []string{fits + "x", strings.Repeat("dir/", MaxName/4) + "f"} {
			err := Tar(bytes.NewReader(tarOf(t, file(name, "", 0o644))), openRoot(t), Options{Name: "test.tar"})
			if err == nil || !strings.Contains(err.Error(), "wanted at most") {
				t.Errorf("%d bytes: %v", len(name), err)
			}
		}
	})
}

// TestBombs unpacks 10 GiB of zeros from some KiB. Little of it may be written.
func TestBombs(t *testing.T) {
	const length = 10 << 30
	var header bytes.Buffer
	h := tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644, Size: 3 << 30, Uid: os.Getuid(), Gid: os.Getgid()}
	if err := tar.NewWriter(&header).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	bombs := map[string][]byte{}
	var zstdBomb bytes.Buffer
	w, err := zstd.NewWriter(&zstdBomb, zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, io.MultiReader(&header, io.LimitReader(endless{}, length))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	bombs["zstd"] = zstdBomb.Bytes()
	// A file that is one hole: nearly nothing in the stream (GNU tar manual, "Sparse Formats", 1.0).
	bombs["sparse"] = sparseTar(t, 3<<30)
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t)
			err := Tar(bytes.NewReader(bomb), root, Options{Name: "bomb.tar"})
			if !errors.Is(err, errBomb) || !strings.Contains(err.Error(), `bomb.tar: entry "f"`) {
				t.Errorf("%d bytes: error is %v", len(bomb), err)
			}
			if info, err := root.Stat("f"); err != nil || info.Size() > int64(MaxFree)+MaxRatio*int64(len(bomb))+1<<20 {
				t.Errorf("%v was written, %v", info, err)
			}
		})
	}
}

// sparseTar is a GNU sparse archive of format 1.0 whose only file "f" is a hole.
func sparseTar(t *testing.T, length int64) []byte {
	t.Helper()
	sparse := fmt.Sprintf("1\n%d\n0\n", length)
	sparse += strings.Repeat("\x00", 512-len(sparse))
	f := file("GNUSparseFile.0/f", sparse, 0o644)
	records := map[string]string{
		"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": fmt.Sprint(length),
	}
	// The writer refuses these records, so they are put in its place under names of the same length.
	f.PAXRecords = map[string]string{}
	for name, value := range records {
		f.PAXRecords["XXX"+strings.TrimPrefix(name, "GNU")] = value
	}
	return bytes.ReplaceAll(tarOf(t, f), []byte("XXX.sparse"), []byte("GNU.sparse"))
}

// endless is what a decompression bomb unpacks to.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// FuzzTar checks that nothing is written outside, whatever the archive says, and that it ends.
func FuzzTar(f *testing.F) {
	f.Add(tarOf(f, dir("d", 0o755), file("d/f", "content", 0o755), symlink("d/l", "f"), hardLink("h", "d/f")))
	f.Add(tarOf(f, symlink("l", "../x"), file("l/../y", "", 0o644)))
	f.Add(tarOf(f, symlink("d", "/tmp"), file("d/x", "content", 0o644)))
	f.Add([]byte("\xfd7zXZ\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		staysInside(t, func(root *os.Root) error { return Tar(bytes.NewReader(stream), root, Options{Name: "fuzz"}) })
	})
}

// staysInside unpacks something and looks at what there is then, inside and beside the root.
func staysInside(t *testing.T, unpack func(root *os.Root) error) {
	t.Helper()
	parent := t.TempDir()
	inner := filepath.Join(parent, "root")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(inner)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	err = unpack(root)
	if siblings, _ := os.ReadDir(parent); len(siblings) != 1 {
		t.Fatalf("wrote outside: %v, %v", siblings, err)
	}
	if err == nil {
		for _, line := range listing(t, root) {
			if strings.HasPrefix(line, "p") || strings.HasPrefix(line, "D") {
				t.Errorf("unpacked a special file: %s", line)
			}
		}
	}
}
