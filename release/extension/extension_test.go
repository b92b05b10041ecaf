package extension

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/arch"
	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/needs"
	"github.com/flatcar/oem-sysext/oem/store"
	"github.com/flatcar/oem-sysext/oem/toolroot"
	"github.com/flatcar/oem-sysext/oem/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/extension/extensiontest"
)

type bench struct {
	t      *testing.T
	dir    string // for images
	reader *Reader
}

func newBench(t *testing.T) *bench {
	t.Helper()
	needs.Root(t)
	b := &bench{t: t, dir: t.TempDir()}
	dir := t.TempDir()
	b.reader = &Reader{Tools: toolroottest.Open(t), Scratch: filepath.Join(dir, "scratch"), Arch: arch.AMD64}
	if err := os.Mkdir(b.reader.Scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.reader.Blobs, err = store.OpenBlobs(filepath.Join(dir, "blobs"), b.reader.Scratch); err != nil {
		t.Fatal(err)
	}
	if b.reader.Results, err = store.OpenResults(filepath.Join(dir, "results"), b.reader.Blobs, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) image(filesystem string, entries ...extensiontest.Entry) string {
	b.t.Helper()
	path := filepath.Join(b.dir, "image."+filesystem)
	os.Remove(path)
	extensiontest.Image(b.t, b.reader.Tools, filesystem, path, entries...)
	return path
}

// read reads an image, and looks whether anything stayed in scratch.
func (b *bench) read(path string) (Image, error) {
	b.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	d, _, err := b.reader.Blobs.Add(f)
	if err != nil {
		b.t.Fatal(err)
	}
	image, err := b.reader.Read(b.t.Context(), d, nil)
	if left, _ := os.ReadDir(b.reader.Scratch); len(left) > 0 {
		b.t.Errorf("left in scratch are %v", left)
	}
	return image, err
}

// some is a tree with a bit of everything that is fine.
var some = []extensiontest.Entry{
	{Path: "usr/", Type: tar.TypeDir}, {Path: "usr/bin/", Type: tar.TypeDir},
	{Path: "usr/bin/tool", Mode: 0o755, Content: strings.Repeat("tool", 5000)}, {Path: "usr/bin/alias", Target: "tool"},
	{Path: "usr/bin/hard", Type: tar.TypeLink, Target: "usr/bin/tool", Mode: 0o755},
	{Path: "usr/share/", Type: tar.TypeDir, Mode: 0o700}, {Path: "usr/share/empty"},
}

var filesystems = []string{extensiontest.SquashFS, extensiontest.EROFS}

func TestRead(t *testing.T) {
	b := newBench(t)
	d := digest.Of([]byte(some[2].Content))
	empty := digest.Of(nil)
	want := tree.Tree{
		{Path: "/usr", Type: tree.Dir, Mode: 0o755}, {Path: "/usr/bin", Type: tree.Dir, Mode: 0o755},
		{Path: "/usr/bin/alias", Type: tree.Symlink, Mode: 0o777, Target: "tool"},
		{Path: "/usr/bin/hard", Type: tree.File, Mode: 0o755, Size: 20000, SHA256: d},
		{Path: "/usr/bin/tool", Type: tree.File, Mode: 0o755, Size: 20000, SHA256: d},
		{Path: "/usr/share", Type: tree.Dir, Mode: 0o700}, {Path: "/usr/share/empty", Type: tree.File, Mode: 0o644, SHA256: empty},
	}
	for _, filesystem := range filesystems {
		path := b.image(filesystem, some...)
		disk := filepath.Join(b.dir, "disk."+filesystem)
		extensiontest.Disk(t, path, disk, false)
		for _, path := range []string{path, disk} {
			image, err := b.read(path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if diff := cmp.Diff(want.Listing(), image.Tree.Listing()); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
		}
	}
}

// What only a privileged reader could make is refused, and named.
func TestRefusedEntries(t *testing.T) {
	b := newBench(t)
	for want, bad := range map[string]extensiontest.Entry{
		"/usr/share/null":   {Path: "usr/share/null", Type: tar.TypeChar},
		"/usr/share/fifo":   {Path: "usr/share/fifo", Type: tar.TypeFifo},
		"/usr/share/theirs": {Path: "usr/share/theirs", UID: 5},
		"/usr/share/opaque": {Path: "usr/share/opaque/", Type: tar.TypeDir, Xattrs: map[string]string{"trusted.overlay.opaque": "y"}},
	} {
		for _, filesystem := range filesystems {
			_, err := b.read(b.image(filesystem, append(some[:len(some):len(some)], bad)...))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error is %v; wanted one with %s", filesystem, err, want)
			}
		}
	}
}

func TestRefusedFiles(t *testing.T) {
	b := newBench(t)
	squash, err := os.ReadFile(b.image(extensiontest.SquashFS, some...))
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(b.dir, "overlap")
	extensiontest.Disk(t, b.image(extensiontest.SquashFS, some...), disk, true)
	overlap, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	table := func(at int) []byte { // of the superblock's starts of tables (fs/squashfs/squashfs_fs.h)
		changed := bytes.Clone(squash)
		binary.LittleEndian.PutUint64(changed[at:], 1<<40)
		return changed
	}
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"nothing":         {nil, "neither the magic of squashfs nor that of erofs"},
		"text":            {[]byte(strings.Repeat("text", 1000)), "neither the magic"},
		"cut":             {squash[:120], "unsquashfs cannot read it"},
		"inode table":     {table(64), "unsquashfs cannot read it"},
		"directory table": {table(72), "unsquashfs cannot read it"},
		"fragment table":  {table(80), "unsquashfs cannot read it"},
		"overlap":         {overlap, "inside of entry 1"},
		"cut disk":        {overlap[:len(overlap)-512*40], "partition table"},
	} {
		path := filepath.Join(b.dir, "bad")
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := b.read(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v; wanted %q", name, err, c.want)
		}
	}
}

// An extent of erofs that lies behind the end of the image is refused, and the file named.
func TestErofsOutOfRange(t *testing.T) {
	b := newBench(t)
	path := b.image(extensiontest.EROFS, some...)
	var said bytes.Buffer
	err := b.reader.Tools.Run(t.Context(), toolroot.Cmd{Program: "dump.erofs", Args: []string{"--path=/usr/bin/tool", path}, Read: []string{path}, Stdout: &said})
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`NID: +([0-9]+)`).FindStringSubmatch(said.String())
	if number == nil {
		t.Fatalf("no NID in %s", &said)
	}
	inode, err := strconv.Atoi(number[1])
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian   // fs/erofs/erofs_fs.h: erofs_super_block, erofs_inode_compact
	content[erofsStart+8] &^= 1 // no checksum
	at := int(le.Uint32(content[erofsStart+40:]))*4096 + inode*32
	le.PutUint32(content[at+16:], 0x7fffffff)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.read(path); err == nil || !strings.Contains(err.Error(), "cannot be read: it has 0 bytes; wanted 20000") {
		t.Errorf("error is %v", err)
	}
}

// Whatever is wrong with an image, reading it ends, and leaves nothing behind.
func TestDamage(t *testing.T) {
	b := newBench(t)
	for _, filesystem := range filesystems {
		good, err := os.ReadFile(b.image(filesystem, some...))
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 15 {
			bad := bytes.Clone(good)
			for range 8 {
				bad[random.IntN(len(bad))] ^= byte(1 + random.IntN(255))
			}
			path := filepath.Join(b.dir, "bad")
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			_, _ = b.read(path)
		}
	}
}

func TestTooMuch(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	f, err := os.Create(big)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, "x"); err != nil {
		t.Fatal(err)
	}
	if err := within(dir); err != nil {
		t.Error(err)
	}
}

func FuzzReleaseFits(f *testing.F) {
	f.Add([]byte("ID=flatcar\nSYSEXT_LEVEL=1.0\n"))
	f.Add([]byte("ID=_any\nARCHITECTURE=x86-64\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		o, err := ParseOS(content, arch.AMD64)
		if err != nil {
			return
		}
		said := Release{"ID": o.ID, "VERSION_ID": o.VersionID, "SYSEXT_LEVEL": o.Level}
		if o.ID != "" && o.VersionID != "" && said.Fits(o) != nil {
			t.Errorf("what says the same as %v does not fit it", o)
		}
	})
}

func TestFits(t *testing.T) {
	base := OS{ID: "flatcar", IDLike: []string{"coreos"}, VersionID: "4593.2.0", Level: "1.0", Arch: arch.AMD64}
	for want, said := range map[string]Release{
		"":                      {"ID": "flatcar", "SYSEXT_LEVEL": "1.0", "VERSION_ID": "1.2.3"},
		"  ":                    {"ID": "flatcar", "VERSION_ID": "4593.2.0", "ARCHITECTURE": "x86-64"},
		" ":                     {"ID": "_any", "SYSEXT_LEVEL": "7"},
		"   ":                   {"ID": "coreos", "SYSEXT_LEVEL": "1.0", "SYSEXT_SCOPE": "initrd system"},
		"ARCHITECTURE=arm64":    {"ID": "_any", "ARCHITECTURE": "arm64"},
		"is for ID=fedora":      {"ID": "fedora"},
		"is for ID=nothing":     {},
		`SYSEXT_SCOPE="initrd"`: {"ID": "_any", "SYSEXT_SCOPE": "initrd"},
		"was built for SYSEXT_LEVEL=2.0; the base is flatcar 4593.2.0, SYSEXT_LEVEL=1.0": {"ID": "flatcar", "SYSEXT_LEVEL": "2.0", "VERSION_ID": "4593.2.0"},
		"was built for VERSION_ID=4152.2.0; the base is":                                 {"ID": "flatcar", "VERSION_ID": "4152.2.0"},
		"was built for VERSION_ID=nothing":                                               {"ID": "flatcar"},
	} {
		err := said.Fits(base)
		if want = strings.TrimSpace(want); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: error is %v; wanted %q", said, err, want)
		}
	}
}
