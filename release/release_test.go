package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/arch"
	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/needs"
	"github.com/flatcar/oem-sysext/oem/pack"
	"github.com/flatcar/oem-sysext/oem/progress"
	"github.com/flatcar/oem-sysext/oem/run"
	"github.com/flatcar/oem-sysext/oem/size"
	"github.com/flatcar/oem-sysext/oem/toolroot"
	"github.com/flatcar/oem-sysext/oem/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/base"
	"github.com/flatcar/oem-sysext/release/btrfs"
	"github.com/flatcar/oem-sysext/release/embed"
	"github.com/flatcar/oem-sysext/release/manifest"
)

// made is the project's own release, built once for all tests of this package.
var made struct {
	once     sync.Once
	err      error
	workshop *workshop
	images   []oem.Image
	manifest *manifest.Manifest
}

func options(t *testing.T, cache, output string) Options {
	t.Helper()
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Checkout: checkout, Output: output, Cache: cache,
		BaseID: DefaultBase, Version: DefaultVersion, Arch: arch.AMD64, Jobs: 2,
		Progress: progress.To(t.Output()), Log: slog.New(slog.DiscardHandler),
	}
}

func theRelease(t *testing.T) {
	t.Helper()
	needs.Root(t)
	needs.Programs(t, append(base.Programs(), "go")...)
	made.once.Do(func() {
		var output string
		if output, made.err = os.MkdirTemp("", "release."); made.err != nil {
			return
		}
		o := options(t, toolroottest.Cache(t), output)
		ctx := context.Background() // not the first test's
		if made.manifest, made.err = Assemble(ctx, o); made.err != nil {
			return
		}
		if made.workshop, made.err = open(ctx, o); made.err != nil {
			return
		}
		made.images, made.err = made.workshop.build(ctx)
	})
	if made.err != nil {
		t.Fatal(made.err)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if made.workshop != nil {
		made.workshop.close()
		os.RemoveAll(made.workshop.Output)
	}
	os.Exit(code)
}

func file(name string) string { return filepath.Join(made.workshop.Dir(), name) }

func TestSumsCoverEverything(t *testing.T) {
	theRelease(t)
	err := run.Run(t.Context(), run.Cmd{
		Program: "sha256sum", Args: []string{"--quiet", "--strict", "--check", sumsFile},
		Dir: made.workshop.Dir(), Env: run.HostEnv("PATH"),
	})
	if err != nil {
		t.Error(err)
	}
	sums, err := os.ReadFile(file(sumsFile))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(made.workshop.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != sumsFile && !strings.Contains(string(sums), "  "+entry.Name()+"\n") {
			t.Errorf("%s is in no sum", entry.Name())
		}
	}
}

// TestKernelReadsTheStagedTrees mounts each image and compares it with what was staged.
func TestKernelReadsTheStagedTrees(t *testing.T) {
	theRelease(t)
	for _, image := range made.images {
		got, err := mounted(t, file(imageFile(image)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(image.Tree.Listing(), got.Listing()); diff != "" {
			t.Errorf("%s: %s", image.Platform.ID, diff)
		}
	}
}

// TestBaseMergesEachImage lets the base's own systemd-sysext merge each image. Its exit status says nothing
// about an image that does not match, so what counts is the merged tree.
func TestBaseMergesEachImage(t *testing.T) {
	theRelease(t)
	work := t.TempDir()
	want := ""
	for _, image := range made.images {
		addImage(t, work, image.Platform.Image(), image.Tree, file(imageFile(image)))
		want += image.Platform.Image() + ":" + image.Platform.Image() + "\n"
	}
	addWrong(t, work)
	want += "oem-wrong:\n"
	out, err := run.Output(t.Context(), run.Cmd{
		Program: "unshare", Args: []string{"--mount", "sh", "testdata/merge.sh", work, made.workshop.base.Usr},
		Env: run.HostEnv("PATH"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Error(diff)
	}
}

// addImage puts an image where merge.sh finds it, with the sums of the files that are in it.
func addImage(t *testing.T, work, name string, content tree.Tree, image string) {
	t.Helper()
	var sums strings.Builder
	for _, e := range content {
		if e.Type == tree.File {
			fmt.Fprintf(&sums, "%v  %s\n", e.SHA256, e.Path)
		}
	}
	if err := os.Symlink(image, filepath.Join(work, name+".raw")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, name+".sums"), []byte(sums.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// addWrong makes an image that is right but for its VERSION_ID.
func addWrong(t *testing.T, work string) {
	t.Helper()
	w := made.workshop
	release := "ID=flatcar\nVERSION_ID=1.2.3\nARCHITECTURE=x86-64\n"
	d, n, err := w.blobs.Add(strings.NewReader(release))
	if err != nil {
		t.Fatal(err)
	}
	factory, err := w.factory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	content := tree.Tree{{Path: "/extension-release.oem-wrong", Type: tree.File, Mode: 0o644, Size: n, SHA256: d}}
	content = content.Below("/usr/lib/extension-release.d")
	image, err := factory.Packer.Image(t.Context(), content, pack.Default)
	if err != nil {
		t.Fatal(err)
	}
	addImage(t, work, "oem-wrong", content, w.blobs.Path(image.SHA256))
}

// TestPartitionHoldsTheImages reads the partition as the kernel does.
func TestPartitionHoldsTheImages(t *testing.T) {
	theRelease(t)
	err := btrfs.View(t.Context(), file(partitionFile), func(root string) error {
		entries, err := os.ReadDir(filepath.Join(root, embed.Dir))
		if err != nil {
			return err
		}
		if len(entries) != len(made.manifest.Images) {
			t.Errorf("%d files are embedded; want %d", len(entries), len(made.manifest.Images))
		}
		for _, image := range made.manifest.Images {
			d, _, err := digest.OfFile(filepath.Join(root, image.Embedded))
			if err != nil || d != image.SHA256 {
				t.Errorf("%s: embedded %v, %v; want %v", image.Name, d, err, image.SHA256)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file(partitionFile))
	if err != nil || info.Size() != int64(btrfs.FlatcarPartition) {
		t.Errorf("partition has %d B, %v", info.Size(), err)
	}
	err = made.workshop.tools.Run(t.Context(), toolroot.Cmd{
		Program: "btrfs", Args: []string{"check", "--readonly", "--check-data-csum", file(partitionFile)},
		Read: []string{file(partitionFile)},
	})
	if err != nil {
		t.Error(err)
	}
}

// TestVeritysetupAgrees lets the real tool verify the partition, and refuse it after one changed byte.
func TestVeritysetupAgrees(t *testing.T) {
	theRelease(t)
	rootHash, err := os.ReadFile(file(rootHashFile))
	if err != nil || string(rootHash) != made.manifest.Partition.RootHash.String() {
		t.Fatalf("%s has %q, %v", rootHashFile, rootHash, err)
	}
	verify := func(partition string) error {
		return made.workshop.tools.Run(t.Context(), toolroot.Cmd{
			Program: "veritysetup",
			Args:    []string{"verify", partition, partition, string(rootHash), fmt.Sprintf("--hash-offset=%d", btrfs.FlatcarFilesystem)},
			Read:    []string{partition},
		})
	}
	if err := verify(file(partitionFile)); err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), "usr.bin")
	if err := copyFile(changed, file(partitionFile)); err != nil {
		t.Fatal(err)
	}
	superblock := int64(btrfs.FlatcarFilesystem)
	for what, offset := range map[string]int64{"data": 65536, "tree": superblock + 4096 + 17, "superblock": superblock + 90} {
		flip(t, changed, offset)
		if err := verify(changed); err == nil {
			t.Errorf("a changed byte in the %s is accepted", what)
		}
		flip(t, changed, offset)
	}
	if err := verify(changed); err != nil {
		t.Errorf("after all bytes were put back: %v", err)
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func flip(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
}

// TestTwoRunsGiveTheSameBytes builds the release again with nothing kept but downloads, tools and base,
// in another directory, with another umask, time zone and language.
func TestTwoRunsGiveTheSameBytes(t *testing.T) {
	theRelease(t)
	first := made.workshop
	cache := filepath.Join(t.TempDir(), "other cache")
	if err := os.Mkdir(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(first.Cache, "*-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(kept, filepath.Join(first.Cache, "downloads")) {
		if err := os.Symlink(path, filepath.Join(cache, filepath.Base(path))); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("LANG", "tr_TR.UTF-8")
	t.Setenv("LC_ALL", "tr_TR.UTF-8")
	defer unix.Umask(unix.Umask(0o077))
	o := options(t, cache, t.TempDir())
	if _, err := Assemble(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{sumsFile, manifest.FileName} {
		a, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(o.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(a), string(b)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestNothingIsMadeOfWrongOptions(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, append(base.Programs(), "go")...)
	for want, spoil := range map[string]func(*Options){
		`no reference base "nope"`: func(o *Options) { o.BaseID = "nope" },
		`no platform "azrue"`:      func(o *Options) { o.Platforms = []string{"azrue"} },
		"../../evil":               func(o *Options) { o.Version = "../../evil" },
	} {
		o := options(t, toolroottest.Cache(t), filepath.Join(t.TempDir(), "output"))
		spoil(&o)
		if _, err := Assemble(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
		if _, err := os.Stat(o.Output); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: there is output", want)
		}
	}
}

func TestTooLargeNamesEveryImage(t *testing.T) {
	theRelease(t)
	w := made.workshop
	huge := made.images[0]
	huge.Size = 900 * size.MiB // never read: the sum is looked at first
	empty, err := w.format(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.embed(t.Context(), empty, []oem.Image{huge, made.images[1]})
	var over *embed.OverBudgetError
	if !errors.As(err, &over) {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{imageFile(huge), imageFile(made.images[1]), "short", "nothing was embedded"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
