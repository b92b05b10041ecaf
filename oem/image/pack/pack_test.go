package pack

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/pack/packtest"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
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
	results, err := store.OpenResults(filepath.Join(dir, "results"), blobs, nil)
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

// everything is a kernel that was built with all that rungs ask for.
var everything = target.KernelConfig{
	"SQUASHFS": true, "SQUASHFS_ZSTD": true, "SQUASHFS_XZ": true, "XZ_DEC_X86": true, "XZ_DEC_ARM64": true,
	"EROFS_FS": true, "EROFS_FS_ZIP": true, "EROFS_FS_ZIP_LZMA": true,
}

func ladder(t *testing.T, tools *toolroot.Root) []rung.Rung {
	t.Helper()
	writers, err := Detect(t.Context(), tools)
	if err != nil {
		t.Fatal(err)
	}
	rungs := Ladder(arch.AMD64, everything, writers)
	if len(rungs) != len(all)-1 { // arm64's filter
		t.Fatalf("the tool root makes %v", rungs)
	}
	return rungs
}

// Every rung is read by the kernel, is the same on every run, and holds the time that it is told.
func TestEveryRung(t *testing.T) {
	tools := toolroottest.Open(t)
	image := func(rung rung.Rung, epoch int64) (string, tree.Tree, Image) {
		p := packer(t, tools)
		p.Epoch = time.Unix(epoch, 0)
		want := sample(t, p.Blobs)
		image, err := p.Image(t.Context(), want, rung)
		if err != nil {
			t.Fatal(err)
		}
		return p.Blobs.Path(image.SHA256), want, image
	}
	for _, rung := range ladder(t, tools) {
		t.Run(rung.String(), func(t *testing.T) {
			path, want, first := image(rung, 1_700_000_000)
			if diff := cmp.Diff(want.Listing(), packtest.Mounted(t, path).Listing()); diff != "" {
				t.Error(diff)
			}
			t.Setenv("TZ", "Asia/Tokyo")
			if _, _, second := image(rung, 1_700_000_000); first != second {
				t.Errorf("two runs gave %v and %v", first, second)
			}
			if _, _, other := image(rung, 1_700_000_001); other.SHA256 == first.SHA256 {
				t.Error("another epoch gave the same bytes, so this test would not see times in the image")
			}
		})
	}
}

func TestUserSpaceReadsSquashFS(t *testing.T) {
	p := packer(t, toolroottest.Open(t))
	want := sample(t, p.Blobs)
	image, err := p.Image(t.Context(), want, rung.Default)
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

// A rung is offered only where the kernel reads it and the tools make it.
func TestLadderAssumesNothing(t *testing.T) {
	writers := Writers{SquashFS: []string{"gzip", "xz", "zstd"}, Filters: []string{"x86", "arm64"}, EROFS: []string{"lz4", "lz4hc", "lzma"}, Tails: []string{rung.Inline, rung.Together}}
	names := func(a arch.Arch, kernel target.KernelConfig, writers Writers) string {
		var names []string
		for _, r := range Ladder(a, kernel, writers) {
			names = append(names, r.String())
		}
		return strings.Join(names, " ")
	}
	complete := names(arch.AMD64, everything, writers)
	for option, gone := range map[string]string{
		"SQUASHFS":          "squashfs-",
		"SQUASHFS_XZ":       "squashfs-xz-",
		"SQUASHFS_ZSTD":     "squashfs-zstd-",
		"XZ_DEC_X86":        "-x86",
		"EROFS_FS":          "erofs",
		"EROFS_FS_ZIP":      "erofs-",
		"EROFS_FS_ZIP_LZMA": "erofs-lzma-",
	} {
		kernel := maps.Clone(everything)
		delete(kernel, option)
		if got := names(arch.AMD64, kernel, writers); !strings.Contains(complete, gone) || strings.Contains(got, gone) || got == "" {
			t.Errorf("without %s there is %s", option, got)
		}
	}
	if got := names(arch.ARM64, everything, writers); !strings.Contains(got, "-arm64") || strings.Contains(got, "-x86") {
		t.Errorf("arm64 has %s", got)
	}
	old := Writers{SquashFS: []string{"xz"}, EROFS: []string{"lz4", "lz4hc"}}
	if got, want := names(arch.AMD64, everything, old), "erofs erofs-lz4hc-12-4K squashfs-xz-1M"; got != want {
		t.Errorf("old tools make %s; want %s", got, want)
	}
}

func TestDamagedContentStopsTheImage(t *testing.T) {
	p := packer(t, toolroottest.Open(t))
	content := sample(t, p.Blobs)
	su, _ := content.Find("/usr/bin/su")
	if err := os.WriteFile(p.Blobs.Path(su.SHA256), bytes.ToUpper([]byte("setuid")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Image(t.Context(), content, rung.Default); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error is %v", err)
	}
}

// TestAnotherVersionChangesTheEnd packs a tree for two versions of the OS, and of its configuration: with small files in several compressed
// blocks, of which the one with these must not be the first.
func TestAnotherVersionChangesTheEnd(t *testing.T) {
	tools := toolroottest.Open(t)
	noise := rand.NewChaCha8([32]byte{1})
	var files []string
	for range 200 {
		content := make([]byte, 2000)
		_, _ = noise.Read(content) // never fails
		files = append(files, string(content))
	}
	image := func(r rung.Rung, version string) []byte {
		p := packer(t, tools)
		var all tree.Tree
		add := func(path, content string) {
			d, n, err := p.Blobs.Add(strings.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, tree.Entry{Path: path, Type: tree.File, Mode: 0o644, Size: n, SHA256: d})
		}
		for _, dir := range []string{"/usr", "/usr/lib", "/usr/lib/extension-release.d"} {
			all = append(all, tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755})
		}
		add("/usr/lib/extension-release.d/extension-release.oem-x", "ID=flatcar\nVERSION_ID="+version+"\n")
		all = append(all, tree.Entry{Path: "/usr/share", Type: tree.Dir, Mode: 0o755})
		add("/usr/share/000.conf", "version = "+version)
		for i, content := range files {
			add(fmt.Sprintf("/usr/share/%03d.txt", i), content)
		}
		made, err := p.Image(t.Context(), all, r)
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(p.Blobs.Path(made.SHA256))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	for _, r := range ladder(t, tools) {
		if r.Block > 256*size.KiB {
			continue // all files are one block
		}
		t.Run(r.String(), func(t *testing.T) {
			first, second := image(r, "9999.0.0"), image(r, "9999.12.5")
			differ := 0
			for at := 0; at < len(first); at += 4096 {
				if !bytes.Equal(first[at:min(at+4096, len(first))], second[min(at, len(second)):min(at+4096, len(second))]) {
					differ++
				}
			}
			if blocks := len(first) / 4096; differ > blocks/2 {
				t.Errorf("of %d blocks, %d differ", blocks, differ)
			}
		})
	}
}
