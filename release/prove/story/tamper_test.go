package story

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/proof"
)

// An image lies in the partition block by block, not all of them as they are; some of those near its ends are hit, and nothing else.
func TestImageIsHit(t *testing.T) {
	const block = 4096
	image := make([]byte, 300*block)
	if _, err := rand.NewChaCha8([32]byte{}).Read(image); err != nil {
		t.Fatal(err)
	}
	clear(image[2*block : 3*block]) // zeros are everywhere
	disk := make([]byte, 400*block)
	const start = 16 * block
	copy(disk[start+50*block:], image[:100*block])
	copy(disk[start+200*block:], image[150*block:])
	copy(disk[start+50*block:], make([]byte, block)) // the first block is there in another form

	s := &story{dir: t.TempDir(), platform: &platform.Platform{ID: strictyaml.Text{Value: "x"}}}
	dir := t.TempDir()
	s.releases = map[string]Installable{"B": {Release: proof.Release{Dir: dir, Manifest: &manifest.Manifest{
		Partition: manifest.Partition{Filesystem: size.Bytes(len(disk) - start)},
	}}}}
	b := slot.Slot{Name: "B", Partition: gpt.Partition{First: start / gpt.SectorSize}}
	for path, content := range map[string][]byte{filepath.Join(dir, "oem-x.raw"): image, s.disk(): disk} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.hitImage(b); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(s.disk())
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(disk); at += block {
		inImage := -1
		if at >= start+51*block && at < start+150*block {
			inImage = (at-start)/block - 50
		}
		if at >= start+200*block && at < start+350*block {
			inImage = (at-start)/block - 200 + 150
		}
		nearEnd := inImage >= 0 && inImage != 2 && (inImage < edge/block || inImage >= 300-edge/block)
		if hit := !bytes.Equal(disk[at:at+block], after[at:at+block]); hit != nearEnd {
			t.Errorf("block %d, which is block %d of the image, is hit: %v", at/block, inImage, hit)
		}
	}
	if err := os.WriteFile(s.disk(), make([]byte, len(disk)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.hitImage(b); err == nil {
		t.Error("an image that is not there was hit")
	}
}
