package btrfs

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/rewrite"
)

// TestRewriteKeepsExtents has the kernel make all kinds of extents and takes them for old ones.
func TestRewriteKeepsExtents(t *testing.T) {
	in, super := openImage(t, testImage(t, testTree(t)))
	private, err := privateCopy(in, int64(super.Size), t.TempDir())
	must(t, err)
	defer private.Close()
	var want map[string]string
	must(t, changeMounted(t.Context(), private, super, func(root string) error {
		makeExtents(t, root)
		want, err = listing(root)
		return err
	}))
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	must(t, err)
	defer out.Close()
	super.Generation = math.MaxUint64
	must(t, rewrite.File(t.Context(), out, private, super, testEpoch))
	must(t, out.Truncate(int64(testPartition)))
	checkImage(t, out.Name())
	if diff := cmp.Diff(want, viewListing(t, out.Name())); diff != "" {
		t.Errorf("the file system differs (-kernel +rewritten):\n%s", diff)
	}
}

const noCow = 0x00800000 // FS_NOCOW_FL (kernel include/uapi/linux/fs.h)

// makeExtents makes extents that are shared, partly overwritten, long, without checksums, and allocated ahead.
func makeExtents(t *testing.T, root string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	must(t, os.WriteFile(at("long"), random(20<<20), 0o644))
	for i := range 20 { // more references than one item holds
		clone(t, at("long"), at("clone"+strings.Repeat("i", i)))
		clone(t, at("share/unit"), at("unit"+strings.Repeat("i", i)))
	}
	overwrite(t, at("long"), 5<<20, text(70_000))
	overwrite(t, at("share/unit"), 50_000, random(10_000))

	must(t, os.WriteFile(at("nodatasum"), nil, 0o644))
	f, err := os.OpenFile(at("nodatasum"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	for _, flags := range []int{0, noCow} { // a file to be compressed cannot become one of these at once
		must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags))
	}
	_, err = f.Write(text(300_000))
	must(t, err)

	ahead, err := os.Create(at("ahead"))
	must(t, err)
	defer ahead.Close()
	must(t, unix.Fallocate(int(ahead.Fd()), 0, 0, 1<<20))
	_, err = ahead.WriteAt([]byte("some"), 600_000)
	must(t, err)
}

func clone(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	must(t, err)
	defer in.Close()
	out, err := os.Create(to)
	must(t, err)
	defer out.Close()
	must(t, unix.IoctlFileClone(int(out.Fd()), int(in.Fd())))
}

func overwrite(t *testing.T, path string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(data, at)
	must(t, err)
}

func TestDamageIsFound(t *testing.T) {
	path := testImage(t, testTree(t))
	in, super := openImage(t, path)
	for name, place := range map[string]int64{
		"tree": int64(super.Root().Address) + 2000,
		"data": someData(t, path),
	} {
		t.Run(name, func(t *testing.T) {
			damaged := filepath.Join(t.TempDir(), "damaged")
			out, err := os.Create(damaged)
			must(t, err)
			defer out.Close()
			must(t, copySparse(out, in, 0, int64(testPartition)))
			b := make([]byte, 1)
			_, err = out.ReadAt(b, place)
			must(t, err)
			_, err = out.WriteAt([]byte{b[0] ^ 1}, place)
			must(t, err)
			again, err := os.Create(filepath.Join(t.TempDir(), "out"))
			must(t, err)
			defer again.Close()
			err = rewrite.File(t.Context(), again, out, super, testEpoch)
			if err == nil || !strings.Contains(err.Error(), "checksum") {
				t.Errorf("a flipped bit: error is %v; wanted one about a checksum", err)
			}
		})
	}
}

// someData returns where some data of testTree lies in the file.
func someData(t *testing.T, path string) int64 {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	at := bytes.Index(content, random(ondisk.BlockSize))
	if at < 0 {
		t.Fatal("no data")
	}
	return int64(at)
}
