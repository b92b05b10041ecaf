// Package pack turns trees into image files.
package pack

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/size"
	"github.com/flatcar/oem-sysext/oem/store"
	"github.com/flatcar/oem-sysext/oem/toolroot"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Default is the rung of images that are packed without a plan: of the levels and block sizes whose cold reads
// stay above 250 MB/s on one core, the one with the smallest images.
var Default = Rung{Filesystem: SquashFS, Compressor: "zstd", Level: 15, Block: 128 * size.KiB}

// Tools are the packages of the tool root that decide an image's bytes.
var Tools = []string{"squashfs-tools", "libzstd1"}

// Image is a packed tree in the blob store.
type Image struct {
	SHA256 digest.SHA256 `json:"sha256"`
	Size   size.Bytes    `json:"size"`
	Rung   Rung          `json:"rung"`
}

// Packer packs trees. The same tree gives the same bytes on every run.
type Packer struct {
	Tools   *toolroot.Root
	Blobs   *store.Blobs
	Results *store.Results
	Scratch string    // a directory on the blobs' file system
	Epoch   time.Time // the time of everything in an image
}

// Image packs a tree at a rung, or returns what an earlier run packed.
func (p *Packer) Image(ctx context.Context, t tree.Tree, rung Rung) (Image, error) {
	inputs := []any{t, rung, p.Epoch.Unix(), p.Tools.Versions(Tools...)}
	there := func(image Image) bool { return p.Blobs.Has(image.SHA256, int64(image.Size)) }
	return store.Memo(p.Results, "pack", inputs, there, func() (Image, error) { return p.squashfs(ctx, t, rung) })
}

// mksquashfsMemory bounds the caches of squashfs-tools, which take a quarter of the machine's memory otherwise.
const mksquashfsMemory = "192M"

func (p *Packer) squashfs(ctx context.Context, t tree.Tree, rung Rung) (Image, error) {
	dir, err := os.MkdirTemp(p.Scratch, "pack.")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "image")
	epoch := strconv.FormatInt(p.Epoch.Unix(), 10)
	err = p.stream(ctx, t, toolroot.Cmd{
		Program: "sqfstar", // mksquashfs that reads a tar archive, in its order
		Args: []string{
			"-comp", rung.Compressor, "-Xcompression-level", strconv.Itoa(rung.Level),
			"-b", strconv.FormatInt(int64(rung.Block), 10),
			"-mkfs-time", epoch, "-root-time", epoch,
			"-root-mode", "0755", "-root-uid", "0", "-root-gid", "0",
			"-mem", mksquashfsMemory, "-exit-on-error", "-quiet", "-no-progress", file,
		},
		Write: []string{dir},
	})
	if err != nil {
		return Image{}, err
	}
	d, n, err := p.Blobs.AddFile(file)
	return Image{SHA256: d, Size: size.Bytes(n), Rung: rung}, err
}

// stream runs a tool that reads the tree as a tar archive from its standard input.
func (p *Packer) stream(ctx context.Context, t tree.Tree, tool toolroot.Cmd) error {
	archive, input := io.Pipe()
	tool.Stdin = archive
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := t.WriteTar(input, p.Epoch, p.Blobs.CopyTo)
		input.CloseWithError(err)
		return err
	})
	group.Go(func() error {
		err := p.Tools.Run(ctx, tool)
		archive.CloseWithError(fmt.Errorf("%s ended early", tool.Program))
		return err
	})
	return group.Wait()
}
