// Package embed puts images into the USR partition of a base and hashes the result for dm-verity.
package embed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/verity"
)

// Dir is where images lie, relative to /usr.
const Dir = disks.ImagesDir

// Image is what goes into the partition.
type Image struct {
	Name   string // of the file, such as oem-azure.raw, perhaps in a directory of its own
	SHA256 digest.SHA256
	Size   size.Bytes
}

// File is what else goes into the partition: what makes the images be found.
type File struct {
	Path    string      // relative to /usr
	Mode    fs.FileMode // permissions
	Content []byte
	Blob    digest.SHA256 // of the content, when that is a blob
	Target  string        // of a symbolic link, which has neither mode nor content
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

// Content is all that goes into the partition.
type Content struct {
	Images []Image // in their directory, where there is nothing else afterwards
	Files  []File  // each replaces what the base has at its path
	// What becomes part of /usr, with paths from the root. It must not have what the base has differently.
	Tree tree.Tree
}

// Into writes at the path to the partition image from with the content in it. The blobs hold the images' contents.
// A too small file system is an *OverBudgetError, and to is not written.
func (c Content) Into(ctx context.Context, from, to string, blobs *store.Blobs, epoch time.Time) error {
	free, err := btrfs.Free(ctx, from)
	if err != nil {
		return err
	}
	var need size.Bytes
	for _, image := range c.Images {
		need += image.Size
	}
	if need > free {
		return &OverBudgetError{c.Images, free}
	}
	err = btrfs.Edit(ctx, from, to, epoch, func(mounted string) error {
		root, err := os.OpenRoot(mounted)
		if err != nil {
			return err
		}
		defer root.Close()
		if err := writeTree(ctx, root, c.Tree, blobs); err != nil {
			return err
		}
		if err := writeImages(ctx, root, c.Images, blobs); err != nil {
			return err
		}
		return writeFiles(root, c.Files, blobs)
	})
	if errors.Is(err, syscall.ENOSPC) { // metadata needs room too
		return errors.Join(&OverBudgetError{c.Images, free}, err)
	}
	return err
}

// Strip writes at the path to the partition image from without what an earlier embedding put there: the directory of
// images, the files at the paths, directories that are empty without them, and the dm-verity data, which fits no more.
// Where there is nothing of it, the times of the directories above become those that they have afterwards.
//
// Since numbers of inodes follow the highest in use, and times end at the epoch, content that is put into the result
// gives the same bytes as content that is put into what the partition was before it had any.
func Strip(ctx context.Context, from, to string, paths []string, epoch time.Time) error {
	err := btrfs.Edit(ctx, from, to, epoch, func(mounted string) error {
		root, err := os.OpenRoot(mounted)
		if err != nil {
			return err
		}
		defer root.Close()
		above := map[string]bool{}
		for _, name := range append([]string{Dir}, paths...) {
			if err := root.RemoveAll(name); err != nil {
				return err
			}
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				info, err := root.Lstat(dir)
				if err == nil && (!info.IsDir() || root.Remove(dir) != nil) { // a link to a directory, or not empty
					above[dir] = true
				}
			}
		}
		for dir := range above {
			if err := root.Chtimes(dir, epoch, epoch); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(os.Truncate(to, int64(btrfs.FlatcarFilesystem)), os.Truncate(to, int64(btrfs.FlatcarPartition)))
}

// writeTree adds what the base does not have.
func writeTree(ctx context.Context, root *os.Root, t tree.Tree, blobs *store.Blobs) error {
	for _, e := range t {
		name, below := strings.CutPrefix(e.Path, "/usr/")
		if !below {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := root.Lstat(name); err == nil {
			continue // alike
		}
		err := e.WriteTo(root, name, blobs.CopyTo)
		if err != nil {
			return fmt.Errorf("flatten %s: %w", e.Path, err)
		}
	}
	return nil
}

// writeImages replaces what is in the images' directory.
func writeImages(ctx context.Context, root *os.Root, images []Image, blobs *store.Blobs) error {
	if err := root.RemoveAll(Dir); err != nil {
		return err
	}
	if err := rooted.MakeDir(root, Dir); err != nil {
		return err
	}
	for _, image := range images {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := rooted.MakeDir(root, path.Dir(path.Join(Dir, image.Name))); err != nil {
			return err
		}
		err := rooted.Write(root, path.Join(Dir, image.Name), 0o644, func(f io.Writer) error { return blobs.CopyTo(f, image.SHA256) })
		if err != nil {
			return fmt.Errorf("embed %s: %w", image.Name, err)
		}
	}
	return nil
}

// writeFiles replaces what is at the files' paths.
func writeFiles(root *os.Root, files []File, blobs *store.Blobs) error {
	for _, file := range files {
		if err := rooted.MakeDir(root, path.Dir(file.Path)); err != nil {
			return err
		}
		if err := root.RemoveAll(file.Path); err != nil {
			return err
		}
		var err error
		switch {
		case file.Target != "":
			err = root.Symlink(file.Target, file.Path)
		case file.Blob != digest.SHA256{}:
			err = rooted.Write(root, file.Path, file.Mode, func(f io.Writer) error { return blobs.CopyTo(f, file.Blob) })
		default:
			err = rooted.WriteBytes(root, file.Path, file.Mode, file.Content)
		}
		if err != nil {
			return fmt.Errorf("embed %s: %w", file.Path, err)
		}
	}
	return nil
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
