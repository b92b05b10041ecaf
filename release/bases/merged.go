package bases

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/squashfs"
	"github.com/flatcar/oem-sysext/release/setup"
)

// defaultExtensions is where a base's default /etc has links to the images that every machine merges, as Flatcar has for docker and
// containerd: /etc/extensions/docker-flatcar.raw leads to /usr/share/flatcar/sysext/docker-flatcar.raw.
const defaultExtensions = "/usr/share/flatcar/etc/extensions"

// merged returns the files of the images that the base merges by default. Their contents are among the blobs.
func merged(ctx context.Context, bench *setup.Bench, dir string, usr tree.Tree) (tree.Tree, error) {
	var all tree.Tree
	for _, link := range usr.Under(defaultExtensions) {
		image, found := usr.Find(path.Clean(link.Target))
		if link.Type != tree.Symlink || path.Ext(link.Path) != ".raw" || !found || image.Type != tree.File {
			continue // such as one that leads to where a user puts an image
		}
		file := filepath.Join(dir, strings.TrimPrefix(image.Path, "/usr/"))
		one, err := store.Memo(ctx, bench.Results.Step("default-extension", []any{image.SHA256}), blobsOf, func() (tree.Tree, error) {
			return unpacked(ctx, bench, file)
		})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil { // a form that this reads not yet must not keep the base from being used
			bench.Log.Warn("an extension that the base merges cannot be read; checks do not know its units and files", "image", image.Path, "error", err)
			continue
		}
		all, _ = tree.Merge(all, one)
	}
	return all, nil
}

func blobsOf(t tree.Tree) (blobs []store.Blob) {
	for _, e := range t {
		if e.Type == tree.File {
			blobs = append(blobs, store.Blob{SHA256: e.SHA256, Size: e.Size})
		}
	}
	return blobs
}

// maxDefaultExtension limits such an image, unpacked. Flatcar's docker has 160 MB.
var maxDefaultExtension = squashfs.Limits{Entries: maxEntries, Bytes: maxBytes}

const (
	maxEntries = 50_000
	maxBytes   = 4 << 30
)

// unpacked returns the files of an extension image, a squashfs image or a disk with one.
func unpacked(ctx context.Context, bench *setup.Bench, file string) (tree.Tree, error) {
	work, err := os.MkdirTemp(bench.Scratch, "default-extension.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	image := filepath.Join(work, "image")
	if err := copyData(file, image); err != nil {
		return nil, err
	}
	if err := maxDefaultExtension.Check(ctx, bench.Tools, image); err != nil {
		return nil, err
	}
	if err := squashfs.Extract(ctx, bench.Tools, image, filepath.Join(work, "tree")); err != nil {
		return nil, err
	}
	found, err := tree.Scan(filepath.Join(work, "tree"), bench.Blobs.Add)
	for i := range found {
		found[i].UID, found[i].GID, found[i].Xattrs = 0, 0, nil // they are not unpacked
	}
	return found.Filter(func(e tree.Entry) bool { return strings.HasPrefix(e.Path, "/usr/") }), err
}

// copyData copies the file system of an image.
func copyData(file, to string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	magic := make([]byte, 4)
	if _, err := in.ReadAt(magic, 0); err != nil {
		return err
	}
	var data io.Reader = in
	if !bytes.Equal(magic, []byte("hsqs")) { // Documentation/filesystems/squashfs.rst
		disk, err := ddi.Open(in, info.Size())
		if err != nil {
			return fmt.Errorf("is neither a squashfs image nor a disk with one: %w", err)
		}
		data = disk.Data()
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, data)
	return errors.Join(err, out.Close())
}
