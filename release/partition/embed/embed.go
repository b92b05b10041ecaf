// Package embed embeds images in the USR partition of a base and hashes the result for dm-verity.
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

// Dir is the directory of images, relative to /usr.
const Dir = disks.ImagesDir

// Image is an image to embed.
type Image struct {
	Name   string // of the file, such as oem-azure.raw, possibly with a directory
	SHA256 digest.SHA256
	Size   size.Bytes
}

// File is any other file to embed, such as the activation script.
type File struct {
	Path    string      // relative to /usr
	Mode    fs.FileMode // permissions
	Content []byte
	Blob    digest.SHA256 // of the content, if it is a blob
	Target  string        // of a symbolic link, which has neither mode nor content
}

// OverBudgetError says that the images do not fit the file system.
type OverBudgetError struct {
	Images []Image
	Free   size.Bytes // free space before embedding
}

func (e *OverBudgetError) Error() string {
	var need size.Bytes
	var table strings.Builder
	for _, image := range e.Images {
		need += image.Size
		fmt.Fprintf(&table, "\n  %-28s %12v", image.Name, image.Size)
	}
	return fmt.Sprintf("the images need %v, /usr has %v free (short %v); prune recipes or leave out platforms; nothing was embedded%s",
		need, e.Free, need-e.Free, &table)
}

// Content is everything to embed.
type Content struct {
	Images []Image // the images' directory holds nothing else afterwards
	Files  []File  // each replaces the base's file at its path
	// Tree is merged into /usr; paths start at the root. Paths that the base has too must be identical.
	Tree tree.Tree
}

// Into copies the partition image from to the path to and embeds the content. The blobs hold the images' contents.
// If the file system is too small, it returns an *OverBudgetError and does not write to.
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
	if errors.Is(err, syscall.ENOSPC) { // metadata takes space too
		return errors.Join(&OverBudgetError{c.Images, free}, err)
	}
	return err
}

// Strip copies the partition image from to the path to and removes the results of an earlier embedding: the images' directory,
// the files at the paths, directories that become empty, the UUID that Seal gave, and the dm-verity data, which no longer
// matches. The parent directories get the same times whether or not there was anything to remove.
//
// New inodes get the number after the highest one in use, and times are cut to the epoch. So embedding in the result gives the
// same bytes as embedding in the original partition.
func Strip(ctx context.Context, from, to string, paths []string, epoch time.Time) error {
	err := btrfs.Edit(ctx, from, to, epoch, func(mounted string) error {
		root, err := os.OpenRoot(mounted)
		if err != nil {
			return err
		}
		defer root.Close()
		above := map[string]bool{} // whether the directory stays
		for _, name := range append([]string{Dir}, paths...) {
			if err := root.RemoveAll(name); err != nil {
				return err
			}
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				info, err := root.Lstat(dir)
				above[dir] = err == nil && (!info.IsDir() || root.Remove(dir) != nil) // a symbolic link to a directory, or not empty
			}
		}
		for dir, stays := range above {
			if !stays {
				continue
			}
			if err := root.Chtimes(dir, epoch, epoch); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(btrfs.ResetUUID(to),
		os.Truncate(to, int64(btrfs.FlatcarFilesystem)), os.Truncate(to, int64(btrfs.FlatcarPartition)))
}

// writeTree adds the entries that the base lacks.
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
			continue // identical
		}
		err := e.WriteTo(root, name, blobs.CopyTo)
		if err != nil {
			return fmt.Errorf("flatten %s: %w", e.Path, err)
		}
	}
	return nil
}

// writeImages replaces the content of the images' directory.
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

// writeFiles replaces the files at their paths.
func writeFiles(root *os.Root, files []File, blobs *store.Blobs) error {
	for _, file := range files {
		if err := rooted.MakeDir(root, path.Dir(file.Path)); err != nil {
			return err
		}
		replaced, err := makeRoom(root, file)
		if err != nil {
			return fmt.Errorf("embed %s: %w", file.Path, err)
		}
		switch {
		case replaced != nil:
			err = errors.Join(file.writeTo(replaced, blobs), replaced.Chmod(file.Mode), replaced.Close())
		case file.Target != "":
			err = root.Symlink(file.Target, file.Path)
		default:
			err = rooted.Write(root, file.Path, file.Mode, func(f io.Writer) error { return file.writeTo(f, blobs) })
		}
		if err != nil {
			return fmt.Errorf("embed %s: %w", file.Path, err)
		}
	}
	return nil
}

// makeRoom opens the regular file that another one replaces, emptied, and removes what else is in its place. A file of the base keeps its
// inode, so that it makes no difference whether an earlier release has replaced it already.
func makeRoom(root *os.Root, file File) (*os.File, error) {
	info, err := root.Lstat(file.Path)
	if err == nil && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Nlink == 1 && file.Target == "" {
		return root.OpenFile(file.Path, os.O_WRONLY|os.O_TRUNC, 0)
	}
	return nil, root.RemoveAll(file.Path)
}

// writeTo writes the content.
func (f File) writeTo(out io.Writer, blobs *store.Blobs) error {
	if !f.Blob.IsZero() {
		return blobs.CopyTo(out, f.Blob)
	}
	_, err := out.Write(f.Content)
	return err
}

// Seal gives the file system of a partition image a UUID that follows from all that it holds, but not from the UUID it has, and writes the
// dm-verity data right behind it. It returns the root hash and the parameters.
//
// A machine mounts the slot of an update while it runs from the other one, and before Linux 6.7 takes two devices of one UUID
// for the same file system. The salt follows from the line alone: where the data of two releases of one line is the same, the hash tree is.
// What names the tree, its UUID, follows from the content, and is in one block only.
func Seal(ctx context.Context, partition, line string, hashed io.Writer) (digest.SHA256, verity.Params, error) {
	salt := digest.Of([]byte("dm-verity salt of " + line))
	params := verity.Params{DataBlocks: uint64(btrfs.FlatcarFilesystem / verity.BlockSize), Salt: salt[:]}
	if err := btrfs.ResetUUID(partition); err != nil {
		return digest.SHA256{}, params, err
	}
	f, err := os.OpenFile(partition, os.O_RDWR, 0)
	if err != nil {
		return digest.SHA256{}, params, err
	}
	defer f.Close() // after an error; else it is closed already
	content, err := verity.Format(ctx, counted{f, hashed}, f, int64(btrfs.FlatcarFilesystem), params)
	if err != nil {
		return digest.SHA256{}, params, err
	}
	if err := btrfs.SetUUID(partition, btrfs.DerivedUUID("content", content[:])); err != nil {
		return digest.SHA256{}, params, err
	}
	uuid := digest.Of(append([]byte("uuid"), content[:]...))
	params.UUID = [16]byte(uuid[:16])
	var changed []verity.Range
	for _, at := range btrfs.Superblocks() {
		changed = append(changed, verity.Range{Start: at, Length: verity.BlockSize})
	}
	root, err := verity.Rehash(ctx, f, int64(btrfs.FlatcarFilesystem), params, changed...)
	return root, params, errors.Join(err, f.Close())
}

// counted reports the number of bytes read.
type counted struct {
	io.ReaderAt
	count io.Writer
}

func (c counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	_, _ = c.count.Write(p[:n]) // a failing progress display must not stop the run
	return n, err
}
