// Package pack turns trees into image files.
package pack

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Tools are the packages of the tool root that an image's bytes depend on.
var Tools = []string{"squashfs-tools", "erofs-utils", "libzstd1", "liblzma5", "liblz4-1"}

// Image is a packed tree in the blob store.
type Image struct {
	SHA256 digest.SHA256 `json:"sha256"`
	Size   size.Bytes    `json:"size"`
	Rung   rung.Rung     `json:"rung"`
}

// Packer packs trees, reproducibly.
type Packer struct {
	Tools   *toolroot.Root
	Blobs   *store.Blobs
	Results *store.Results
	Scratch string    // a directory on the blobs' file system
	Epoch   time.Time // the time of everything in an image
}

// revision is part of the cache key. Raise it when a tree becomes other bytes.
const revision = 2

// Image packs a tree at a rung, or returns the image from the cache.
func (p *Packer) Image(ctx context.Context, t tree.Tree, r rung.Rung) (Image, error) {
	inputs := []any{revision, t, r, p.Epoch.Unix(), p.Tools.Versions(Tools...)}
	names := func(image Image) []store.Blob { return []store.Blob{{SHA256: image.SHA256, Size: int64(image.Size)}} }
	return store.Memo(ctx, p.Results.Step("pack", inputs), names, func() (Image, error) { return p.pack(ctx, t, r) })
}

func (p *Packer) pack(ctx context.Context, t tree.Tree, r rung.Rung) (Image, error) {
	dir, err := os.MkdirTemp(p.Scratch, "pack.")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "image")
	writer := p.squashfs(r, file)
	if r.Filesystem == rung.EROFS {
		if writer, err = p.erofs(t, r, file); err != nil {
			return Image{}, err
		}
	}
	writer.Write = []string{dir}
	if err := p.stream(ctx, t, writer); err != nil {
		return Image{}, fmt.Errorf("%v: %w", r, err)
	}
	d, n, err := p.Blobs.AddFile(file)
	return Image{SHA256: d, Size: size.Bytes(n), Rung: r}, err
}

// mksquashfsMemory limits the caches of squashfs-tools, which default to a quarter of the machine's memory.
const mksquashfsMemory = "192M"

func (p *Packer) squashfs(r rung.Rung, file string) toolroot.Cmd {
	epoch := strconv.FormatInt(p.Epoch.Unix(), 10)
	args := []string{
		"-comp", r.Compressor, "-b", strconv.FormatInt(int64(r.Block), 10),
		"-mkfs-time", epoch, "-root-time", epoch,
		"-root-mode", "0755", "-root-uid", "0", "-root-gid", "0",
		"-mem", mksquashfsMemory, "-exit-on-error", "-quiet", "-no-progress",
	}
	if r.Level != 0 {
		args = append(args, "-Xcompression-level", strconv.Itoa(r.Level))
	}
	if r.Filter != "" {
		args = append(args, "-Xbcj", r.Filter)
	}
	// sqfstar is mksquashfs for a tar archive; it keeps the archive's order.
	return toolroot.Cmd{Program: "sqfstar", Args: append(args, file)}
}

func (p *Packer) erofs(t tree.Tree, r rung.Rung, file string) (toolroot.Cmd, error) {
	content, err := digest.OfInputs(t)
	if err != nil {
		return toolroot.Cmd{}, err
	}
	args := []string{
		"--quiet", "--tar=f", "--sort=none", // the order of the archive
		"-T", strconv.FormatInt(p.Epoch.Unix(), 10),
		"-U", uuid(content),
	}
	if r.Compressor != "" {
		args = append(args, fmt.Sprintf("-z%s,level=%d", r.Compressor, r.Level), fmt.Sprintf("-C%d", r.Block))
	}
	if r.Tails != "" {
		args = append(args, "-E"+r.Tails)
	}
	return toolroot.Cmd{Program: "mkfs.erofs", Args: append(args, file)}, nil
}

func uuid(d digest.SHA256) string {
	h := hex.EncodeToString(d[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// stream runs a tool with the tree as a tar archive on standard input.
func (p *Packer) stream(ctx context.Context, t tree.Tree, tool toolroot.Cmd) error {
	archive, input := io.Pipe()
	tool.Stdin = archive
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := likeWithLike(t).WriteTar(input, p.Epoch, p.Blobs.CopyTo)
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

// extensionReleases is the directory of files that say what an image is for.
const extensionReleases = "/usr/lib/extension-release.d/"

// likeWithLike orders entries so that they compress best, since small files are compressed together:
// directories first, as archives need them, then files by suffix. Behind a small file that has changed, everything is elsewhere by some
// bytes, and so is new to a machine. So last come configuration and units, which a release changes most often, and, at the very
// end, what says which version of the OS the image is for.
func likeWithLike(t tree.Tree) tree.Tree {
	kind := func(e tree.Entry) string {
		base, _, shared := strings.Cut(path.Base(e.Path), ".so")
		switch {
		case e.Type == tree.Dir:
			return "" // sorts first
		case strings.HasPrefix(e.Path, extensionReleases):
			return "\xff" // sorts last
		case shared && base != "":
			return ".so"
		case e.Mode&0o111 != 0 && path.Ext(e.Path) == "":
			return ".program"
		}
		switch ext := path.Ext(e.Path); ext {
		case ".conf", ".cfg", ".rules", ".service", ".timer", ".mount", ".list", ".yaml":
			return "\xfe" + ext // behind all but the version
		default:
			return "." + ext
		}
	}
	ordered := slices.Clone(t)
	slices.SortStableFunc(ordered, func(a, b tree.Entry) int { return cmp.Compare(kind(a), kind(b)) })
	return ordered
}
