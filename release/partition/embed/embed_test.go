package embed_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
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
