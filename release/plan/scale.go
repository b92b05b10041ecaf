package plan

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// scale measures the cost of images in /usr.
type scale struct {
	*Planner
	empty   partition.Partition // a file system without files
	editing sync.Mutex          // kernels before 6.7 do not mount two file systems of one UUID
}

func (p *Planner) newScale(ctx context.Context) (*scale, error) {
	empty, err := partition.Empty(ctx, p.Bench)
	return &scale{Planner: p, empty: empty}, err
}

// cost returns how much free space an image takes from an empty file system made like the base's.
func (s *scale) cost(ctx context.Context, packed pack.Image) (size.Bytes, error) {
	var content any = packed.SHA256
	if packed.Size == block { // which does not get smaller, whatever is in it
		content = "a block"
	}
	inputs := []any{s.empty.SHA256, content, partition.ZstdVersion()}
	return store.Memo(ctx, s.Bench.Results.Step("cost", inputs), store.Nothing, func() (size.Bytes, error) { return s.weigh(ctx, packed) })
}

func (s *scale) weigh(ctx context.Context, packed pack.Image) (size.Bytes, error) {
	s.editing.Lock()
	defer s.editing.Unlock()
	dir, err := os.MkdirTemp(s.Bench.Scratch, "cost.")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "usr.bin")
	list := []embed.Image{{Name: "image.raw", SHA256: packed.SHA256, Size: packed.Size}}
	if err := (embed.Content{Images: list}).Into(ctx, s.Bench.Blobs.Path(s.empty.SHA256), path, s.Bench.Blobs, s.Base.Epoch); err != nil {
		return 0, err
	}
	free, err := btrfs.Free(ctx, path)
	return s.empty.Free - free, err
}
