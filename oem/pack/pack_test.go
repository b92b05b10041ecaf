package pack

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/store"
	"github.com/flatcar/oem-sysext/oem/toolroot"
	"github.com/flatcar/oem-sysext/oem/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// packer returns a packer with nothing kept.
func packer(t *testing.T, tools *toolroot.Root) *Packer {
	t.Helper()
	dir := t.TempDir()
	blobs, err := store.OpenBlobs(filepath.Join(dir, "blobs"), dir)
	if err != nil {
		t.Fatal(err)
	}
	results, err := store.OpenResults(filepath.Join(dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	return &Packer{Tools: tools, Blobs: blobs, Results: results, Scratch: dir, Epoch: time.Unix(1_700_000_000, 0)}
}

// sample is a tree with everything that an image may hold.
func sample(t *testing.T, blobs *store.Blobs) tree.Tree {
	t.Helper()
	file := func(path string, mode uint32, content string) tree.Entry {
		d, n, err := blobs.Add(strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		return tree.Entry{Path: path, Type: tree.File, Mode: mode, Size: n, SHA256: d}
	}
	ping := file("/usr/bin/ping", 0o755, strings.Repeat("elf", 100_000))
	ping.Xattrs = map[string][]byte{"security.capability": {1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
	return tree.Tree{
		{Path: "/usr", Type: tree.Dir, Mode: 0o755},
		{Path: "/usr/bin", Type: tree.Dir, Mode: 0o755},
		{Path: "/usr/bin/link", Type: tree.Symlink, Mode: 0o777, Target: "../lib/nowhere"},
		ping,
		file("/usr/bin/su", 0o4755, "setuid"),
		{Path: "/usr/empty", Type: tree.Dir, Mode: 0o1750},
		file("/usr/empty.txt", 0o644, ""),
		file("/usr/"+strings.Repeat("long", 50), 0o600, "long name"),
	}
}

func TestImageHoldsTheTree(t *testing.T) {
	p := packer(t, toolroottest.Open(t))
	want := sample(t, p.Blobs)
	image, err := p.Image(t.Context(), want, Squashfs)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err = p.Tools.Run(t.Context(), toolroot.Cmd{
		Program: "unsquashfs", Args: []string{"-quiet", "-no-progress", "-dest", dir + "/out", p.Blobs.Path(image.SHA256)},
		Read: []string{p.Blobs.Path(image.SHA256)}, Write: []string{dir},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.Scan(dir+"/out", digest.OfReader)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Listing(), got.Listing()); diff != "" {
		t.Error(diff)
	}
}

func TestSameTreeSameBytes(t *testing.T) {
	tools := toolroottest.Open(t)
	image := func(epoch int64) Image {
		p := packer(t, tools)
		p.Epoch = time.Unix(epoch, 0)
		image, err := p.Image(t.Context(), sample(t, p.Blobs), Squashfs)
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	t.Setenv("TZ", "Asia/Tokyo")
	first, second := image(1_700_000_000), image(1_700_000_000)
	if first != second {
		t.Errorf("two runs gave %v and %v", first, second)
	}
	if other := image(1_700_000_001); other.SHA256 == first.SHA256 {
		t.Error("another epoch gave the same bytes, so this test would not see times in the image")
	}
}

func TestDamagedContentStopsTheImage(t *testing.T) {
	p := packer(t, toolroottest.Open(t))
	content := sample(t, p.Blobs)
	su, _ := content.Find("/usr/bin/su")
	if err := os.WriteFile(p.Blobs.Path(su.SHA256), bytes.ToUpper([]byte("setuid")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Image(t.Context(), content, Squashfs); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error is %v", err)
	}
}
