package btrfs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/digest"
)

func TestProto(t *testing.T) {
	dir := t.TempDir()
	img := filepath.Join(dir, "a")
	var last digest.SHA256
	for range 2 {
		t0 := time.Now()
		if err := Format(t.Context(), testTools(t), img, Options{Source: "/tmp/p/base/usr", UUID: UUID{1, 2, 3}, Filesystem: FlatcarFilesystem, Partition: FlatcarPartition, Epoch: time.Unix(1700000000, 0)}); err != nil {
			t.Fatal(err)
		}
		t.Log("format", time.Since(t0))
		d, _, _ := digest.OfFile(img)
		t.Log(d)
		if !last.IsZero() && d != last {
			t.Error("differs")
		}
		last = d
	}
	t0 := time.Now()
	t.Log(Free(t.Context(), img))
	t.Log("free", time.Since(t0))
	t0 = time.Now()
	big, _ := os.ReadFile("/usr/local/go/bin/go")
	err := Edit(t.Context(), img, img+"2", time.Unix(1700000000, 0), func(root string) error {
		return os.WriteFile(filepath.Join(root, "hello"), big, 0644)
	})
	t.Log("edit", time.Since(t0), err, len(big))
	s, err := ReadSuperblock(img+"2")
	t.Log(s.Used, err)
	t.Log(Free(t.Context(), img+"2"))
	os.Rename(img+"2", "/tmp/btrfs-proto.img")
	os.Rename(img, "/tmp/btrfs-proto0.img")
}
