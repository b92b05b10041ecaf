package flatcar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	unpack "github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/sparse"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/kernel"
	squash "github.com/flatcar/oem-sysext/release/format/squashfs"
	"github.com/flatcar/oem-sysext/release/format/verity"
)

// importer makes a base in a new directory.
type importer struct {
	Options
	from found
	dir  string
	base base.Base
}

func (i *importer) path(name string) string { return filepath.Join(i.dir, name) }

func (i *importer) run(ctx context.Context) error {
	if err := i.take(ctx, i.from.path); err != nil {
		return err
	}
	if err := i.look(); err != nil {
		return err
	}
	if err := i.findKernel(); err != nil {
		return err
	}
	if err := i.checkKernel(); err != nil {
		return err
	}
	if err := i.writeConfig(); err != nil {
		return err
	}
	if err := i.findPackages(); err != nil {
		return err
	}
	facts, err := json.MarshalIndent(i.base, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(i.path(factsFile), 0o644, facts)
}

// take makes usr, and where there are such a partition, a disk image and a kernel, of a file of any kind.
func (i *importer) take(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	what, err := identify(f)
	if err != nil {
		return err
	}
	switch what {
	case compressed:
		plain := i.path("uncompressed")
		if err := uncompress(f, plain); err != nil {
			return err
		}
		defer os.Remove(plain) // gone already when it was kept
		return i.take(ctx, plain)
	case archive:
		image := i.path(squashfsName)
		if err := takeSquashfs(f, image); err != nil {
			return err
		}
		defer os.Remove(image)
		return i.take(ctx, image)
	case squashfs:
		return i.unpackSquashfs(ctx, file)
	case disk:
		return i.takeDisk(ctx, f)
	}
	return i.takePartition(ctx, f)
}

// keep moves a file that this import made, or copies another one, to a name in the base.
func (i *importer) keep(f *os.File, name string) error {
	if filepath.Dir(f.Name()) == i.dir {
		return os.Rename(f.Name(), i.path(name))
	}
	return copyPart(f, 0, -1, i.path(name))
}

// copyPart copies length bytes at an offset to a new file; all that follow, for a negative length.
func copyPart(f *os.File, offset, length int64, to string) (err error) {
	if length < 0 {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		length = info.Size() - offset
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(sparse.CopyPart(out, f, offset, length), out.Close())
}

// takePartition takes a partition that is a file of its own: an update's image, or one of the larger ones that newer disks
// have, of which the image is the beginning.
func (i *importer) takePartition(ctx context.Context, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if got := size.Bytes(info.Size()); got != btrfs.FlatcarPartition && got != 2*btrfs.FlatcarPartition {
		return fmt.Errorf("the USR partition has %d bytes; wanted %d (or %d, of which the rest is not used)",
			got, btrfs.FlatcarPartition, 2*btrfs.FlatcarPartition)
	}
	if err := copyPart(f, 0, int64(btrfs.FlatcarPartition), i.path(partitionFile)); err != nil {
		return err
	}
	return i.unpackPartition(ctx)
}

// unpackPartition proves the partition, then copies its files.
func (i *importer) unpackPartition(ctx context.Context) error {
	image := i.path(partitionFile)
	super, err := btrfs.ReadSuperblock(image)
	if err != nil {
		return err
	}
	if super.Size != btrfs.FlatcarFilesystem {
		return fmt.Errorf("the file system has %d bytes (byte %d of the USR partition says so); wanted %d, as Flatcar's has",
			super.Size, 64<<10+112, btrfs.FlatcarFilesystem)
	}
	if err := i.checkVerity(ctx, image); err != nil {
		return err
	}
	return btrfs.Extract(ctx, image, i.path(usrDir))
}

// How much an image of a base may hold. /usr of Flatcar has some 20 000 entries and 1.5 GB.
const (
	maxEntries = 4 * unpack.MaxEntries
	maxBytes   = unpack.MaxBytes
)

// unpackSquashfs lets the real program unpack an image, which is all of /usr.
func (i *importer) unpackSquashfs(ctx context.Context, file string) error {
	image, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	work, err := filepath.Abs(i.path("unpacked"))
	if err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	if err := (squash.Limits{Entries: maxEntries, Bytes: maxBytes}).Check(ctx, i.Tools, image); err != nil {
		return err
	}
	c := squash.Bounded(maxBytes, append([]string{"unsquashfs"}, squash.UnpackArgs(image, filepath.Join(work, usrDir), "-data-queue", "64", "-frag-queue", "64")...)...)
	c.Read, c.Write, c.Owners = []string{image}, []string{work}, true
	if err := i.Tools.Run(ctx, c); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(work, usrDir), i.path(usrDir)); err != nil {
		return err
	}
	return os.Remove(work)
}

// findKernel takes the kernel that the user names, or else one that came with the image, lies beside it, or in its /usr.
// A base may have none: images can be built for it all the same.
func (i *importer) findKernel() error {
	if i.Kernel != "" {
		return i.takeNear(kernelFile, i.Kernel)
	}
	if _, err := os.Stat(i.path(kernelFile)); err == nil {
		return nil
	}
	for _, name := range kernelNames {
		f, there, err := i.from.near(name)
		if err != nil {
			return err
		}
		if there {
			if err := i.takeNear(kernelFile, f.path); err != nil {
				return err
			}
			return i.findInitrd()
		}
	}
	root, err := os.OpenRoot(i.path(usrDir))
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range []string{"boot/vmlinuz", "lib/modules/" + i.base.Release + "/vmlinuz"} {
		f, err := root.Open(name)
		if err != nil {
			continue // not there, or a link that leads out
		}
		defer f.Close()
		return copyPart(f, 0, -1, i.path(kernelFile))
	}
	return nil
}

// findInitrd takes the initramfs beside a kernel that has none in it.
func (i *importer) findInitrd() error {
	f, there, err := i.from.near(initrdName)
	if err != nil || !there {
		return err
	}
	return i.takeNear(initrdFile, f.path)
}

// findPackages takes the list of the image's packages, if it lies beside it.
func (i *importer) findPackages() error {
	f, there, err := i.from.near(packagesName)
	if err != nil || !there {
		return err
	}
	return i.takeNear(packagesFile, f.path)
}

func (i *importer) takeNear(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(i.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return copyPart(f, 0, -1, i.path(name))
}

// checkVerity proves the partition by its own hash tree, before the kernel mounts it.
func (i *importer) checkVerity(ctx context.Context, image string) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := verity.Root(f, int64(btrfs.FlatcarFilesystem), uint64(btrfs.FlatcarFilesystem/verity.BlockSize))
	if err != nil {
		return fmt.Errorf("dm-verity data at byte %d of the USR partition: %w", btrfs.FlatcarFilesystem, err)
	}
	if err := verity.Verify(ctx, f, f, int64(btrfs.FlatcarFilesystem), root); err != nil {
		return fmt.Errorf("the USR partition does not fit its dm-verity data: %w", err)
	}
	i.base.RootHash = root
	return nil
}

// checkKernel refuses a file that is not a kernel, and a kernel that carries the root hash of another partition.
func (i *importer) checkKernel() error {
	booted, err := i.kernelRootHash()
	if err != nil {
		return err
	}
	if root := i.base.RootHash; !booted.IsZero() && !root.IsZero() && booted != root {
		return fmt.Errorf("the kernel passes on the root hash %v; the USR partition's is %v, so they do not belong together", booted, root)
	}
	return nil
}

// kernelRootHash is the root hash in the kernel. It is zero for one that has no place for it.
func (i *importer) kernelRootHash() (digest.SHA256, error) {
	f, err := os.Open(i.path(kernelFile))
	if errors.Is(err, os.ErrNotExist) {
		return digest.SHA256{}, nil
	}
	if err != nil {
		return digest.SHA256{}, err
	}
	defer f.Close()
	root, err := kernel.RootHash(f, i.Arch)
	if none := (*kernel.NoFieldError)(nil); errors.As(err, &none) {
		return digest.SHA256{}, nil
	}
	return root, err
}
