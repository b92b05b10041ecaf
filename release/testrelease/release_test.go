package testrelease

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/pack/packtest"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/setup"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(envChild); child != "" {
		if err := doInChild(child); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	Main(m)
}

func TestSumsCoverEverything(t *testing.T) {
	made := Made(t)
	err := run.Run(t.Context(), run.Cmd{
		Program: "sha256sum", Args: []string{"--quiet", "--strict", "--check", sums.FileName},
		Dir: made.Options.Dir(), Env: run.HostEnv("PATH"),
	})
	if err != nil {
		t.Error(err)
	}
	list, err := os.ReadFile(made.File(sums.FileName))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(made.Options.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != sums.FileName && !strings.Contains(string(list), "  "+entry.Name()+"\n") {
			t.Errorf("%s is in no sum", entry.Name())
		}
	}
}

// TestKernelReadsTheLayers mounts each image and compares it with the layer that was packed.
func TestKernelReadsTheLayers(t *testing.T) {
	made := Made(t)
	for _, image := range made.Planned.Images {
		if diff := cmp.Diff(image.Tree.Listing(), packtest.Mounted(t, made.File(image.File())).Listing()); diff != "" {
			t.Errorf("%s: %s", image.Name, diff)
		}
	}
}

// TestBaseMergesEachPlatform lets the base's own systemd-sysext merge what each platform activates. Its exit status says
// nothing about an image that does not match, so what counts is the merged tree: all that was staged for the platform.
func TestBaseMergesEachPlatform(t *testing.T) {
	made := Made(t)
	work := t.TempDir()
	want := ""
	for i, p := range made.Manifest.Platforms {
		if diff := cmp.Diff(p.ID, made.Planned.Staged[i].Platform.ID.Value); diff != "" {
			t.Fatal(diff)
		}
		var images []string
		for _, name := range p.Activates {
			images = append(images, made.File(name+".raw"))
		}
		addSet(t, work, p.ID, made.Planned.Staged[i].Tree, images...)
		want += p.ID + ": " + strings.Join(slices.Sorted(slices.Values(p.Activates)), " ") + "\n"
	}
	addWrong(t, work)
	want += "wrong: \n"
	out, err := run.Output(t.Context(), run.Cmd{
		Program: "unshare", Args: []string{"--mount", "sh", "testdata/merge.sh", work, made.Base.Usr},
		Env: run.HostEnv("PATH"),
	})
	if err != nil {
		t.Fatal(err)
	}
	sorted := func(lines string) []string { return slices.Sorted(strings.Lines(lines)) }
	if diff := cmp.Diff(sorted(want), sorted(inOrder(string(out)))); diff != "" {
		t.Error(diff)
	}
}

// inOrder sorts the names after each set's: systemd has them in the order of versions.
func inOrder(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(lines) {
		set, merged, _ := strings.Cut(strings.TrimSpace(line), ":")
		fmt.Fprintf(&b, "%s: %s\n", set, strings.Join(slices.Sorted(slices.Values(strings.Fields(merged))), " "))
	}
	return b.String()
}

// TestLayersAreShared says what layers promise: less in all than the platforms have, at most so many images for each,
// and nothing in a platform's images that its tree does not have.
func TestLayersAreShared(t *testing.T) {
	made := Made(t)
	var shared int
	var unpacked, apart size.Bytes
	for _, image := range made.Planned.Images {
		unpacked += image.Tree.Size()
		if len(image.Platforms) > 1 {
			shared++
		}
		for _, s := range made.Planned.Staged {
			if !slices.Contains(image.Platforms, s.Platform.ID.Value) {
				continue
			}
			for _, e := range image.Tree {
				has, there := s.Tree.Find(e.Path)
				if !strings.HasPrefix(e.Path, "/usr/lib/extension-release.d/") && (!there || !has.Equal(e)) {
					t.Errorf("%s brings %s to %s, which should not have it", image.Name, e.Path, s.Platform.ID)
				}
			}
		}
	}
	for _, s := range made.Planned.Staged {
		apart += s.Tree.Size()
	}
	if shared == 0 || unpacked >= apart {
		t.Errorf("%d shared layers; %v in all layers, %v in the platforms' trees", shared, unpacked, apart)
	}
	for _, p := range made.Manifest.Platforms {
		if len(p.Activates) > int(made.Choice.Profile.MaxImages) {
			t.Errorf("%s activates %v", p.ID, p.Activates)
		}
	}
}

// TestCostsAreWhatTheyTake compares what was measured one by one with what embedding all of them took.
func TestCostsAreWhatTheyTake(t *testing.T) {
	made := Made(t)
	var costs size.Bytes
	for _, image := range made.Manifest.Images {
		costs += image.Cost
	}
	took := made.Manifest.Partition.FreeBefore - made.Manifest.Partition.FreeAfter
	if off := took - costs; max(off, -off) > size.Bytes(len(made.Planned.Images)+4)*4*size.KiB { // ends of tree blocks
		t.Errorf("all images took %d B; measured were %d B", took, costs)
	}
	for _, b := range made.Manifest.Plan.Budgets {
		if b.Left() < 0 {
			t.Errorf("%s: %v of %v is used", b.Name, b.Used, b.Limit)
		}
	}
}

// addSet puts images where merge.sh finds them, with the sums of the files that are in them.
func addSet(t *testing.T, work, set string, content tree.Tree, images ...string) {
	t.Helper()
	var sums strings.Builder
	for _, e := range content {
		if e.Type == tree.File {
			fmt.Fprintf(&sums, "%v  %s\n", e.SHA256, e.Path)
		}
	}
	dir := filepath.Join(work, set)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, image := range images {
		if err := os.Symlink(image, filepath.Join(dir, filepath.Base(image))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "sums"), []byte(sums.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// addWrong makes an image that is right but for its VERSION_ID.
func addWrong(t *testing.T, work string) {
	t.Helper()
	w := Made(t)
	said := "ID=flatcar\nVERSION_ID=1.2.3\nARCHITECTURE=x86-64\n"
	d, n, err := w.Bench.Blobs.Add(strings.NewReader(said))
	if err != nil {
		t.Fatal(err)
	}
	factory, err := w.Factory()
	if err != nil {
		t.Fatal(err)
	}
	content := tree.Tree{{Path: "/extension-release.oem-wrong", Type: tree.File, Mode: 0o644, Size: n, SHA256: d}}
	content = content.Below("/usr/lib/extension-release.d")
	image, err := factory.Packer.Image(t.Context(), content, rung.Default)
	if err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "oem-wrong.raw")
	if err := os.Symlink(w.Bench.Blobs.Path(image.SHA256), wrong); err != nil {
		t.Fatal(err)
	}
	addSet(t, work, "wrong", content, wrong)
}

// TestPartitionHoldsTheImages reads the partition as the kernel does.
func TestPartitionHoldsTheImages(t *testing.T) {
	made := Made(t)
	err := btrfs.View(t.Context(), made.File(manifest.PartitionFile), func(root string) error {
		entries, err := os.ReadDir(filepath.Join(root, embed.Dir))
		if err != nil {
			return err
		}
		if len(entries) != len(made.Manifest.Images) {
			t.Errorf("%d files are embedded; want %d", len(entries), len(made.Manifest.Images))
		}
		for _, image := range made.Manifest.Images {
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
	info, err := os.Stat(made.File(manifest.PartitionFile))
	if err != nil || info.Size() != int64(btrfs.FlatcarPartition) {
		t.Errorf("partition has %d B, %v", info.Size(), err)
	}
	err = made.Bench.Tools.Run(t.Context(), toolroot.Cmd{
		Program: "btrfs", Args: []string{"check", "--readonly", "--check-data-csum", made.File(manifest.PartitionFile)},
		Read: []string{made.File(manifest.PartitionFile)},
	})
	if err != nil {
		t.Error(err)
	}
}

// TestVeritysetupAgrees lets the real tool verify the partition, and refuse it after one changed byte.
func TestVeritysetupAgrees(t *testing.T) {
	made := Made(t)
	rootHash, err := os.ReadFile(made.File(manifest.RootHashFile))
	if err != nil || string(rootHash) != made.Manifest.Partition.RootHash.String() {
		t.Fatalf("%s has %q, %v", manifest.RootHashFile, rootHash, err)
	}
	verify := func(partition string) error {
		return made.Bench.Tools.Run(t.Context(), toolroot.Cmd{
			Program: "veritysetup",
			Args:    []string{"verify", partition, partition, string(rootHash), fmt.Sprintf("--hash-offset=%d", btrfs.FlatcarFilesystem)},
			Read:    []string{partition},
		})
	}
	if err := verify(made.File(manifest.PartitionFile)); err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), "usr.bin")
	if err := copyFile(changed, made.File(manifest.PartitionFile)); err != nil {
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

func TestNothingIsMadeOfWrongOptions(t *testing.T) {
	Needs(t)
	for want, spoil := range map[string]func(*setup.Options){
		`no base "nope"`:          func(o *setup.Options) { o.BaseID = "nope" },
		`no platform "azrue"`:     func(o *setup.Options) { o.Platforms = []string{"azrue"} },
		`no profile "tiny"`:       func(o *setup.Options) { o.Profile = "tiny" },
		"PREVIOUS: open /nowhere": func(o *setup.Options) { o.Previous = []string{"/nowhere"} },
		"../../evil":              func(o *setup.Options) { o.Version = "../../evil" },
		"UPDATE_KEY":              func(o *setup.Options) { o.UpdateKey = "/nowhere" },
	} {
		o := Options(t, toolroottest.Cache(t), filepath.Join(t.TempDir(), "output"))
		spoil(&o)
		if _, err := release.Assemble(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
		if _, err := os.Stat(o.Output); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: there is output", want)
		}
	}
}

func TestEmbeddingChecksTheRoomAgain(t *testing.T) {
	made := Made(t)
	content := made.Planned.Content
	content.Images = slices.Clone(content.Images[:2])
	content.Images[0].Size = 900 * size.MiB // never read: the sum is looked at first
	_, err := partition.Embed(t.Context(), made.Bench, made.Base, made.Planned.Empty, content)
	var over *embed.OverBudgetError
	if !errors.As(err, &over) {
		t.Fatalf("error is %v", err)
	}
	err = made.Planned.Refused(err)
	for _, want := range []string{content.Images[0].Name, content.Images[1].Name, "short", "nothing was embedded", "Largest files:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if refused := (*plan.OverBudgetError)(nil); !errors.As(err, &refused) || refused.ExitStatus() != 3 {
		t.Errorf("the exit code of %T is not 3", err)
	}
}
