package btrfs

import (
	"bytes"
	"errors"
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
	must(t, out.Truncate(int64(testPartition)))
	must(t, rewrite.File(t.Context(), out, private, super, testEpoch))
	checkImage(t, out.Name())
	if diff := cmp.Diff(want, viewListing(t, out.Name())); diff != "" {
		t.Errorf("the file system differs (-kernel +rewritten):\n%s", diff)
	}
}

// TestKernelForgetsToCompress takes from new and old files what a kernel that is short of memory does not give them.
func TestKernelForgetsToCompress(t *testing.T) {
	from := testImage(t, testTree(t))
	want, forgotten := from+".want", from+".forgotten"
	must(t, Edit(t.Context(), from, want, testEpoch, addFiles))
	must(t, Edit(t.Context(), from, forgotten, testEpoch, func(root string) error {
		if err := addFiles(root); err != nil {
			return err
		}
		at := func(name string) string { return filepath.Join(root, name) }
		return errors.Join(
			unix.Removexattr(at("share/images"), "btrfs.compression"),
			unix.Removexattr(at("share/images/a.raw"), "btrfs.compression"),
			unix.Setxattr(at("share/images/b.raw"), "btrfs.compression", []byte("none"), 0), // sets NOCOMPRESS
			unix.Removexattr(at("share/unit"), "btrfs.compression"),
			unix.Setxattr(at("bin/ping"), "btrfs.compression", []byte("zlib"), 0),
		)
	}))
	if digestOf(t, want) != digestOf(t, forgotten) {
		t.Error("what a kernel lets new files inherit changes the image")
	}
	checkImage(t, want)
	must(t, View(t.Context(), want, func(root string) error {
		for _, name := range []string{"share/images", "share/images/a.raw", "bin/ping"} {
			value, err := attribute(filepath.Join(root, name), "btrfs.compression")
			if err != nil || string(value) != compression {
				t.Errorf("property of %s is %q (%v); wanted %q", name, value, err, compression)
			}
		}
		return nil
	}))
}

// TestNormalFormIsChecked shows that what the kernel wrote does not pass for what the package writes.
func TestNormalFormIsChecked(t *testing.T) {
	in, super := openImage(t, testImage(t, testTree(t)))
	must(t, rewrite.Check(t.Context(), in, testEpoch))
	private, err := privateCopy(in, int64(super.Size), t.TempDir())
	must(t, err)
	defer private.Close()
	must(t, changeMounted(t.Context(), private, super, addFiles))
	if err := rewrite.Check(t.Context(), private, testEpoch); err == nil || !strings.Contains(err.Error(), "not in normal form") {
		t.Errorf("a file system of the kernel's: error is %v; wanted one about the normal form", err)
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
