package btrfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestFormatKeepsEverything(t *testing.T) {
	source := testTree(t)
	image := testImage(t, source)
	checkImage(t, image)
	want, err := listing(source)
	must(t, err)
	if diff := cmp.Diff(want, viewListing(t, image)); diff != "" {
		t.Errorf("the file system differs from its source (-source +image):\n%s", diff)
	}
	must(t, View(t.Context(), image, func(root string) error {
		for _, name := range []string{"", "/share", "/share/unit"} {
			if value, err := attribute(root+name, "btrfs.compression"); string(value) != "zstd" {
				t.Errorf("property compression of %s is %q, %v; wanted zstd", name, value, err)
			}
		}
		if !isReadOnly(t, root) {
			t.Error("the default subvolume is not read-only")
		}
		if first, second := inode(t, root, "bin/su"), inode(t, root, "share/su"); first != second {
			t.Errorf("hard links have inodes %d and %d", first, second)
		}
		return nil
	}))
}

func isReadOnly(t testing.TB, root string) bool {
	t.Helper()
	dir, err := os.Open(root)
	must(t, err)
	defer dir.Close()
	const subvolGetFlags, readOnly = 0x80089419, 1 << 1 // kernel include/uapi/linux/btrfs.h
	flags, err := unix.IoctlGetInt(int(dir.Fd()), subvolGetFlags)
	must(t, err)
	return flags&readOnly != 0
}

func inode(t testing.TB, root, name string) uint64 {
	t.Helper()
	var stat unix.Stat_t
	must(t, unix.Stat(filepath.Join(root, name), &stat))
	return stat.Ino
}

func TestFormatSaysWhatItIs(t *testing.T) {
	image := testImage(t, t.TempDir())
	super, err := ReadSuperblock(image)
	must(t, err)
	info, err := os.Stat(image)
	must(t, err)
	if super.UUID != testUUID || super.Size != testFilesystem || info.Size() != int64(testPartition) {
		t.Errorf("UUID %v, file system %v, file %d bytes", super.UUID, super.Size, info.Size())
	}
}

func TestFormatRefusesWhatUsrMustNotHave(t *testing.T) {
	source := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(source, "fifo"), 0o600))
	path := filepath.Join(t.TempDir(), "image")
	if err := Format(t.Context(), testTools(t), path, testOptions(source)); err == nil {
		t.Error("a fifo was accepted")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after the failure the image is there: %v", err)
	}
}
