package extension

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/plan/compose/extension/extensiontest"
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
	return b.readTrusting(d)
}

// readTrusting reads a blob. Signatures must be by one of the certificates.
func (b *bench) readTrusting(d digest.SHA256, trusted ...*x509.Certificate) (Image, error) {
	b.t.Helper()
	image, err := b.reader.Read(b.t.Context(), d, trusted)
	if left, _ := os.ReadDir(b.reader.Scratch); len(left) > 0 {
		b.t.Errorf("left in scratch are %v", left)
	}
	mounts, readErr := os.ReadFile("/proc/self/mountinfo")
	if readErr != nil || strings.Contains(string(mounts), filepath.Dir(b.reader.Scratch)) {
		b.t.Errorf("mounted is %s, %v", mounts, readErr)
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

var filesystems = []string{extensiontest.SquashFS, extensiontest.EROFS, extensiontest.Compressed}

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
		extensiontest.Disk(t, path, disk)
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
	image := b.image(extensiontest.EROFS, some...)
	erofs := contentOf(t, image)
	last := uint64(extensiontest.FirstSector + (len(erofs)-1)/gpt.SectorSize)
	disk := func(number int, first, last uint64) []byte {
		path := filepath.Join(b.dir, "disk")
		extensiontest.Disk(t, image, path)
		if number > 0 {
			extensiontest.Move(t, path, number, first, last)
		}
		return contentOf(t, path)
	}
	whole := disk(0, 0, 0)
	with := func(content []byte, at int, value any) []byte {
		changed := bytes.Clone(content)
		if _, err := binary.Encode(changed[at:], binary.LittleEndian, value); err != nil {
			t.Fatal(err)
		}
		return changed
	}
	table := func(at int) []byte { return with(squash, at, uint64(1<<40)) } // of squashfs' superblock's starts of tables
	super := func(at int, value any) []byte { return with(erofs, erofsStart+at, value) }
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"nothing":         {nil, "neither the magic of squashfs nor that of erofs"},
		"text":            {[]byte(strings.Repeat("text", 1000)), "neither the magic"},
		"cut":             {with(squash[:120], 40, uint64(120)), "unsquashfs cannot read it"},
		"inode table":     {table(64), "outside of its inodes"},
		"directory table": {table(72), "unsquashfs cannot read it"},
		"fragment table":  {table(80), "unsquashfs cannot read it"},
		"overlap":         {disk(2, extensiontest.FirstSector, last+8), "inside of entry 1"},
		"out of bounds":   {disk(2, last+1, 1<<40), "entry 2 (bytes 32 and 40 of it): sectors"},
		"in the table":    {disk(2, 2, 8), "entry 2 (bytes 32 and 40 of it): sectors 2 to 8"},
		"backwards":       {disk(2, last+8, last+1), "entry 2 (bytes 32 and 40 of it)"},
		"cut disk":        {whole[:len(whole)-512*40], "partition table"},
		"small partition": {disk(1, extensiontest.FirstSector, last-1), fmt.Sprintf("says to have %d bytes, and there are %d", len(erofs), len(erofs)-gpt.SectorSize)},

		"squashfs longer than its file": {with(squash, 40, uint64(len(squash)+1)), "it was cut, or its partition is too small"},
		"squashfs of another version":   {with(squash, 28, uint16(3)), "is squashfs 3.0; wanted 4.0"},
		"squashfs with lzma":            {with(squash, 20, uint16(2)), "squashfs compressor 2, which no kernel reads"},
		"squashfs with large blocks":    {with(squash, 12, uint32(2<<20)), "has blocks of 2.0 MiB"},
		"erofs longer than its file":    {super(36, uint32(len(erofs)/4096+1)), "it was cut, or its partition is too small"},
		"erofs with large blocks":       {super(12, uint8(16)), "has erofs blocks of 2^16 bytes"},
		"erofs with new features":       {super(80, uint32(1<<8)), "has erofs features (0x100) that Linux 6.6 does not read"},
		"erofs on several devices":      {super(86, uint16(1)), "has files on 1 other devices"},
		"erofs with a new compressor":   {super(80, []uint16{2, 0, 1 << 4}), "erofs compressors 0x10"},
		"cut erofs":                     {erofs[:1100], "its superblock: unexpected EOF"},
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

// What unpacks to too much is stopped, and so is what is small on disk and long to read.
func TestTooMuch(t *testing.T) {
	b := newBench(t)
	b.reader.most = limits{entries: 40, bytes: size.MiB}
	several := func(count, length int) []extensiontest.Entry {
		entries := slices.Clone(some)
		for i := range count {
			entries = append(entries, extensiontest.Entry{Path: fmt.Sprintf("usr/share/%d", i), Content: strings.Repeat("\x00", length)})
		}
		return entries
	}
	for _, filesystem := range filesystems {
		for want, entries := range map[string][]extensiontest.Entry{
			"":                                several(20, 30_000),
			"unpacks to more than 40 entries": several(40, 1),
			"unpacks to more than 1.0 MiB":    several(20, 60_000),
			"cannot read it|unpacks to more than 1.0 MiB": several(1, 2_000_000),
		} {
			_, err := b.read(b.image(filesystem, entries...))
			if want == "" && err != nil || want != "" && (err == nil || !regexp.MustCompile(want).MatchString(err.Error())) {
				t.Errorf("%s: error is %v; wanted %q", filesystem, err, want)
			}
		}
	}
}

// What a kernel has to have to mount an image is known before one tries.
func TestNeeds(t *testing.T) {
	b := newBench(t)
	tree := filepath.Join(b.dir, "tree")
	if err := errors.Join(os.Mkdir(tree, 0o755), os.WriteFile(filepath.Join(tree, "file"), bytes.Repeat([]byte("content "), 5000), 0o600)); err != nil {
		t.Fatal(err)
	}
	squashfs := func(args ...string) []string {
		return append([]string{"mksquashfs", tree, "IMAGE", "-quiet", "-no-progress"}, args...)
	}
	erofs := func(args ...string) []string {
		return append(append([]string{"mkfs.erofs", "--quiet"}, args...), "IMAGE", tree)
	}
	for _, c := range []struct {
		program []string
		want    string
	}{
		{squashfs(), "SQUASHFS SQUASHFS_ZLIB"},
		{squashfs("-comp", "xz"), "SQUASHFS SQUASHFS_XZ"},
		{squashfs("-comp", "xz", "-Xbcj", "x86,arm"), "SQUASHFS SQUASHFS_XZ XZ_DEC_X86 XZ_DEC_ARM"},
		{squashfs("-comp", "lzo"), "SQUASHFS SQUASHFS_LZO"},
		{squashfs("-comp", "lz4"), "SQUASHFS SQUASHFS_LZ4"},
		{squashfs("-comp", "zstd"), "SQUASHFS SQUASHFS_ZSTD"},
		{erofs(), "EROFS_FS"},
		{erofs("-zlz4hc"), "EROFS_FS EROFS_FS_ZIP"},
		{erofs("-zlz4hc", "-C65536", "-Eztailpacking,fragments,dedupe"), "EROFS_FS EROFS_FS_ZIP"},
		{erofs("-zdeflate"), "EROFS_FS EROFS_FS_ZIP EROFS_FS_ZIP_DEFLATE"},
		{erofs("-zlzma"), "EROFS_FS EROFS_FS_ZIP EROFS_FS_ZIP_LZMA"},
		{erofs("-zzstd"), "EROFS_FS EROFS_FS_ZIP EROFS_FS_ZIP_ZSTD"},
	} {
		path := filepath.Join(b.dir, "image")
		os.Remove(path)
		args := slices.Clone(c.program[1:])
		args[slices.Index(args, "IMAGE")] = path
		if err := b.reader.Tools.Run(t.Context(), toolroot.Cmd{Program: c.program[0], Args: args, Write: []string{b.dir}}); err != nil {
			t.Errorf("%v: %v", c.program, err)
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		part := io.NewSectionReader(f, 0, info.Size())
		head, err := headOf(part)
		if err != nil {
			t.Fatal(err)
		}
		needs, err := inspect(part, head)
		if got := strings.Join(needs, " "); err != nil || got != c.want {
			t.Errorf("%v needs %q, %v; wanted %q", c.program, got, err, c.want)
		}
		f.Close()
	}
}

// The names in an image lead nowhere else.
func TestNamesThatClimb(t *testing.T) {
	b := newBench(t)
	bad := extensiontest.Entry{Path: "usr/share/xxxxevil", Content: "evil"}
	for _, filesystem := range []string{extensiontest.Plain, extensiontest.EROFS, extensiontest.Compressed} {
		content := contentOf(t, b.image(filesystem, append(some[:len(some):len(some)], bad)...))
		if n := bytes.Count(content, []byte("xxxxevil")); n != 1 {
			t.Fatalf("%s: the name is there %d times", filesystem, n)
		}
		for _, name := range []string{"../xevil", "/xxxevil", "../../ev", "a/b/c/de"} {
			changed := bytes.Replace(content, []byte("xxxxevil"), []byte(name), 1)
			if filesystem != extensiontest.Plain {
				changed[erofsStart+8] &^= 1 // no checksum
			}
			path := filepath.Join(b.dir, "bad")
			if err := os.WriteFile(path, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			if image, err := b.read(path); err == nil {
				t.Errorf("%s: %q is read as %s", filesystem, name, image.Tree.Listing())
			}
		}
	}
}

// A signed image of systemd-repart is read when its own certificate is trusted, and not by another's, or none.
func TestSignedByOthers(t *testing.T) {
	b := newBench(t)
	judges := toolroottest.Judges(t)
	tree := filepath.Join(b.dir, "tree/usr/bin")
	if err := errors.Join(os.MkdirAll(tree, 0o755), os.WriteFile(filepath.Join(tree, "tool"), bytes.Repeat([]byte("content "), 50_000), 0o755)); err != nil {
		t.Fatal(err)
	}
	certificates := map[string]*x509.Certificate{}
	for _, who := range []string{"theirs", "another"} {
		key, file := filepath.Join(b.dir, who+".key"), filepath.Join(b.dir, who+".crt")
		err := judges.Run(t.Context(), toolroot.Cmd{Program: "openssl", Write: []string{b.dir}, Args: []string{
			"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + who, "-keyout", key, "-out", file,
		}})
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(contentOf(t, file))
		if certificates[who], err = x509.ParseCertificate(block.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(b.dir, "tool.raw")
	err := judges.Run(t.Context(), toolroot.Cmd{Program: "systemd-repart", Write: []string{b.dir}, Env: []string{"TMPDIR=/tmp"}, Args: []string{
		"--make-ddi=sysext", "--offline=yes", "--copy-source=" + filepath.Join(b.dir, "tree"),
		"--private-key=" + filepath.Join(b.dir, "theirs.key"), "--certificate=" + filepath.Join(b.dir, "theirs.crt"), image,
	}})
	if err != nil {
		t.Fatal(err)
	}
	content := contentOf(t, image)
	add := func(content []byte) digest.SHA256 {
		d, _, err := b.reader.Blobs.Add(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	got, err := b.readTrusting(add(content), certificates["another"], certificates["theirs"])
	if err != nil || got.RootHash.IsZero() || !strings.Contains(got.Tree.Listing(), "/usr/bin/tool") {
		t.Errorf("got %v, %v", got, err)
	}
	changed := bytes.Clone(content)
	at := bytes.Index(changed, []byte("content content"))
	changed[at] ^= 1
	for want, c := range map[string]struct {
		content []byte
		trusted []*x509.Certificate
	}{
		"signature partition: the signature":  {content, nil},
		"signature partition: the signature ": {content, []*x509.Certificate{certificates["another"]}},
		"data partition: ":                    {changed, []*x509.Certificate{certificates["theirs"]}},
	} {
		if _, err := b.readTrusting(add(c.content), c.trusted...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; wanted %q", err, want)
		}
	}
}

func contentOf(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
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

// A file's capabilities are seen whatever the file system is, so that they can be judged, or the file is named.
func TestCapabilitiesAreSeen(t *testing.T) {
	b := newBench(t)
	const raw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw+ep (linux/capability.h)
	able := extensiontest.Entry{Path: "usr/share/able", Mode: 0o755, Xattrs: map[string]string{"security.capability": raw}}
	for _, filesystem := range filesystems {
		image, err := b.read(b.image(filesystem, append(some[:len(some):len(some)], able)...))
		e, _ := image.Tree.Find("/usr/share/able")
		if err == nil && len(e.Xattrs["security.capability"]) == 0 || err != nil && !strings.Contains(err.Error(), "/usr/share/able") {
			t.Errorf("%s: entry is %v, error is %v", filesystem, e, err)
		}
	}
}
