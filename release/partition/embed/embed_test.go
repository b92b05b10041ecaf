package embed_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/verity"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flatcarPartition is a partition as Flatcar publishes it.
func flatcarPartition(t *testing.T) string {
	t.Helper()
	needs.Root(t)
	usr := t.TempDir()
	must(t, os.WriteFile(filepath.Join(usr, "file"), []byte("of Flatcar"), 0o644))
	path, _ := flatcartest.Partition(t, toolroottest.Open(t), usr)
	return path
}

// release embeds a file in a partition and returns the result and its root hash.
func release(t *testing.T, from, text string) (string, digest.SHA256) {
	t.Helper()
	dir := t.TempDir()
	blobs, err := store.OpenBlobs(filepath.Join(dir, "blobs"), dir)
	must(t, err)
	path := filepath.Join(dir, "usr.bin")
	content := embed.Content{Files: []embed.File{{Path: "share/release", Mode: 0o644, Content: []byte(text)}}}
	must(t, content.Into(t.Context(), from, path, blobs, flatcartest.Epoch))
	root, _, err := embed.Seal(t.Context(), path, "flatcar amd64", io.Discard)
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	must(t, verity.Verify(t.Context(), f, f, int64(btrfs.FlatcarFilesystem), root))
	return path, root
}

func super(t *testing.T, path string) btrfs.Superblock {
	t.Helper()
	s, err := btrfs.ReadSuperblock(path)
	must(t, err)
	return s
}

func sum(t *testing.T, path string) digest.SHA256 {
	t.Helper()
	d, _, err := digest.OfFile(path)
	must(t, err)
	return d
}

func strip(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "stripped.bin")
	must(t, embed.Strip(t.Context(), from, to, []string{"share/release"}, flatcartest.Epoch))
	return to
}

func TestUUIDFollowsFromContent(t *testing.T) {
	base := flatcarPartition(t)
	first, root := release(t, base, "first")
	second, _ := release(t, base, "other")
	baseID, firstID, secondID := super(t, base).UUID, super(t, first).UUID, super(t, second).UUID
	if firstID == secondID || firstID == baseID || secondID == baseID {
		t.Errorf("two releases have the UUIDs %v and %v, and their base %v", firstID, secondID, baseID)
	}
	if _, again := release(t, base, "first"); again != root {
		t.Error("the same content gives other bytes")
	}
	for _, path := range []string{first, second} {
		if got := super(t, path).MetadataUUID; got != baseID {
			t.Errorf("the tree blocks have the UUID %v; wanted the base's, %v", got, baseID)
		}
	}
	must(t, btrfs.SetUUID(first, secondID))
	again, _, err := embed.Seal(t.Context(), first, "flatcar amd64", io.Discard)
	must(t, err)
	if got := super(t, first).UUID; got != firstID || again != root {
		t.Errorf("the UUID %v and the root hash %v follow from what they were before; wanted %v and %v", got, again, firstID, root)
	}
}

// TestStripGivesTheBaseBack takes for the base a release, and a partition whose UUID is not the one in its tree blocks.
func TestStripGivesTheBaseBack(t *testing.T) {
	base := flatcarPartition(t)
	made, root := release(t, base, "first")
	stripped := strip(t, base)
	want := sum(t, stripped)
	if got := super(t, stripped).UUID; got != super(t, base).UUID || got == super(t, made).UUID {
		t.Errorf("the stripped base has the UUID %v; wanted %v", got, super(t, base).UUID)
	}
	must(t, btrfs.SetUUID(base, btrfs.UUID{9}))
	for name, from := range map[string]string{"release": made, "base with another UUID": base} {
		stripped := strip(t, from)
		if sum(t, stripped) != want {
			t.Errorf("%s: stripped, it has other bytes than the stripped base", name)
		}
		if _, again := release(t, stripped, "first"); again != root {
			t.Errorf("%s: stripped, it becomes a release with other bytes than the base does", name)
		}
	}
}

// TestStripOfAnEmptiedDirectory removes a directory with its second file.
func TestStripOfAnEmptiedDirectory(t *testing.T) {
	made := flatcarPartition(t)
	must(t, btrfs.Edit(t.Context(), made, made, flatcartest.Epoch, func(root string) error {
		return errors.Join(os.Mkdir(filepath.Join(root, "share"), 0o755),
			os.WriteFile(filepath.Join(root, "share/release"), nil, 0o644), os.WriteFile(filepath.Join(root, "share/other"), nil, 0o644))
	}))
	to := filepath.Join(t.TempDir(), "stripped.bin")
	must(t, embed.Strip(t.Context(), made, to, []string{"share/other", "share/release"}, flatcartest.Epoch))
	must(t, btrfs.View(t.Context(), to, func(root string) error {
		if _, err := os.Lstat(filepath.Join(root, "share")); !os.IsNotExist(err) {
			t.Errorf("the empty directory is still there: %v", err)
		}
		return nil
	}))
}

// TestHashTreesOfOneLine compares the blocks of two releases that differ in one small file.
func TestHashTreesOfOneLine(t *testing.T) {
	base := flatcarPartition(t)
	first, _ := release(t, base, "first")
	second, _ := release(t, base, "other")
	data, tree := differingBlocks(t, first, second)
	// A changed block of data changes one block on each of the tree's three levels; the top is in common. One more is the tree's superblock.
	if limit := 2*data + 2; data == 0 || tree > limit {
		t.Errorf("%d blocks of data differ, and %d of the hash tree; wanted at most %d", data, tree, limit)
	}
}

// differingBlocks counts the blocks of the file systems and those behind them that are not the same in two partitions.
func differingBlocks(t *testing.T, first, second string) (data, tree int) {
	t.Helper()
	a, err := os.ReadFile(first)
	must(t, err)
	b, err := os.ReadFile(second)
	must(t, err)
	for at := 0; at < len(a); at += verity.BlockSize {
		if bytes.Equal(a[at:at+verity.BlockSize], b[at:at+verity.BlockSize]) {
			continue
		}
		if at < int(btrfs.FlatcarFilesystem) {
			data++
		} else {
			tree++
		}
	}
	return data, tree
}
