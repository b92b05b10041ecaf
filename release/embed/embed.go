// Package embed puts images into the USR partition of a base and hashes the result for dm-verity.
package embed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/size"
	"github.com/flatcar/oem-sysext/oem/store"
	"github.com/flatcar/oem-sysext/release/btrfs"
	"github.com/flatcar/oem-sysext/release/verity"
)

// Dir is where images lie, relative to /usr. The path is the same in both slots,
// so a link to it always leads into the slot that runs.
const Dir = "share/flatcar/oem-sysext"

// Image is what goes into the partition.
type Image struct {
	Name   string // of the file, such as oem-azure.raw
	SHA256 digest.SHA256
	Size   size.Bytes
}

// OverBudgetError says that the images do not fit the file system.
type OverBudgetError struct {
	Images []Image
	Free   size.Bytes // what the file system had before
}

func (e *OverBudgetError) Error() string {
	var need size.Bytes
	var table strings.Builder
	for _, image := range e.Images {
		need += image.Size
		fmt.Fprintf(&table, "\n  %-28s %12v", image.Name, image.Size)
	}
	return fmt.Sprintf("the images need %v, /usr has %v free (short %v): prune recipes or leave platforms out; nothing was embedded%s",
		need, e.Free, need-e.Free, &table)
}

// Images writes at the path to the partition image from with images in it, and nothing else in their directory.
// The blobs hold the images' contents. A too small file system is an *OverBudgetError, and to is not written.
func Images(ctx context.Context, from, to string, images []Image, blobs *store.Blobs, epoch time.Time) error {
	free, err := btrfs.Free(ctx, from)
	if err != nil {
		return err
	}
	var need size.Bytes
	for _, image := range images {
		need += image.Size
	}
	if need > free {
		return &OverBudgetError{images, free}
	}
	err = btrfs.Edit(ctx, from, to, epoch, func(root string) error { return fill(ctx, root, images, blobs) })
	if errors.Is(err, syscall.ENOSPC) { // metadata needs room too
		return errors.Join(&OverBudgetError{images, free}, err)
	}
	return err
}

// fill replaces what is in the images' directory. The paths are walked inside the mounted file system only.
func fill(ctx context.Context, mounted string, images []Image, blobs *store.Blobs) error {
	root, err := os.OpenRoot(mounted)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(Dir); err != nil {
		return err
	}
	if err := root.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	if err := root.Chmod(Dir, 0o755); err != nil { // whatever the umask
		return err
	}
	for _, image := range images {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := write(root, image, blobs); err != nil {
			return fmt.Errorf("embed %s: %w", image.Name, err)
		}
	}
	return nil
}

func write(root *os.Root, image Image, blobs *store.Blobs) error {
	f, err := root.OpenFile(path.Join(Dir, image.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = blobs.CopyTo(f, image.SHA256)
	if chmodErr := f.Chmod(0o644); err == nil {
		err = chmodErr
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Seal hashes the file system of a partition image and writes the dm-verity data right behind it.
// The salt and the UUID follow from the seed. It returns the root hash and what was written.
func Seal(ctx context.Context, partition string, seed digest.SHA256, hashed io.Writer) (digest.SHA256, verity.Params, error) {
	salt := digest.Of(append([]byte("salt"), seed[:]...))
	uuid := digest.Of(append([]byte("uuid"), seed[:]...))
	params := verity.Params{
		DataBlocks: uint64(btrfs.FlatcarFilesystem / verity.BlockSize),
		Salt:       salt[:],
		UUID:       [16]byte(uuid[:16]),
	}
	f, err := os.OpenFile(partition, os.O_RDWR, 0)
	if err != nil {
		return digest.SHA256{}, params, err
	}
	root, err := verity.Format(ctx, counted{f, hashed}, f, int64(btrfs.FlatcarFilesystem), params)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return root, params, err
}

// counted tells how much was read.
type counted struct {
	io.ReaderAt
	count io.Writer
}

func (c counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	_, _ = c.count.Write(p[:n]) // progress must not stop the work
	return n, err
}
