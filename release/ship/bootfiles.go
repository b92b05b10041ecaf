package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/sparse"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/format/kernel"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
)

// bootable is the kernel of a release, in the blob store.
type bootable struct {
	SHA256 digest.SHA256
	Size   int64
	Told   manifest.Kernel
}

// kernelFor makes the kernel that boots a partition: the base's, with the root hash where Flatcar's boot loader looks for it.
// A Secure Boot signature would not fit that kernel any more and is taken off, and made anew where there is a key. A kernel without a place for the root hash,
// as a reference base's is, stays what it was: there the root hash goes on the command line.
func (w *workshop) kernelFor(ctx context.Context, p partition) (bootable, error) {
	path := filepath.Join(w.scratch.Dir, "kernel")
	if err := copyWhole(w.base.Kernel, path); err != nil {
		return bootable{}, err
	}
	told, err := w.fillKernel(ctx, path, p.Verity.RootHash)
	if err != nil {
		return bootable{}, err
	}
	d, n, err := w.blobs.AddFile(path)
	return bootable{d, n, told}, err
}

// fillKernel changes a copy of the base's kernel and says what it did.
func (w *workshop) fillKernel(ctx context.Context, path string, root digest.SHA256) (told manifest.Kernel, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return told, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	told.RootHash = manifest.InKernel
	err = kernel.SetRootHash(f, w.Arch, root)
	if none := (*kernel.NoFieldError)(nil); errors.As(err, &none) {
		w.Log.Info("the root hash has to go on the kernel's command line, as verity.usrhash=", "because", none.Reason)
		return manifest.Kernel{RootHash: manifest.OnCommandLine}, nil
	}
	if err != nil {
		return told, err
	}
	info, err := f.Stat()
	if err != nil {
		return told, err
	}
	told.Stripped, err = kernel.StripSignature(f, size.Bytes(info.Size()))
	if err != nil {
		return told, err
	}
	if w.bootKey == nil {
		if told.Stripped {
			w.Log.Warn("the kernel has a new root hash, so its Secure Boot signature is taken off; SECURE_BOOT_KEY names a key to sign it again")
		}
		return told, nil
	}
	told.SignedBy, err = w.signKernel(ctx, f)
	return told, err
}

// signKernel returns the digest of the certificate that a kernel's new signature is of.
func (w *workshop) signKernel(ctx context.Context, f *os.File) (digest.SHA256, error) {
	info, err := f.Stat()
	if err != nil {
		return digest.SHA256{}, err
	}
	err = kernel.Sign(ctx, f, size.Bytes(info.Size()), kernelFile, w.bootKey)
	if missing := (*sign.MissingError)(nil); errors.As(err, &missing) {
		err = w.bootKey.Finish()
	}
	if err != nil {
		return digest.SHA256{}, fmt.Errorf("sign the kernel for Secure Boot: %w", err)
	}
	return digest.Of(w.bootKey.Certificate().Raw), nil
}

func copyWhole(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(sparse.CopyPart(out, in, 0, info.Size()), out.Close())
}

// diskImage makes the base's disk image with the release's partition in its first slot and the kernel that boots it.
// Nothing else of the disk changes, least of all its partition table.
func (w *workshop) diskImage(ctx context.Context, p partition, k bootable) (manifest.File, error) {
	inputs := []any{w.cacheName(w.base.Disk), p.SHA256, k.SHA256, w.Epoch.Unix(), w.tools.Versions(esp.Tools...)}
	names := func(f manifest.File) []store.Blob { return blobs(f.Installed()) }
	return store.Memo(ctx, w.results, "disk", inputs, names, func() (manifest.File, error) {
		path := filepath.Join(w.scratch.Dir, "disk")
		if err := copyWhole(w.base.Disk, path); err != nil {
			return manifest.File{}, err
		}
		if err := w.fillDisk(ctx, path, p, k); err != nil {
			return manifest.File{}, err
		}
		d, n, err := w.blobs.AddFile(path)
		return manifest.File{Name: diskFile, Size: size.Bytes(n), SHA256: d}, err
	})
}

func (w *workshop) fillDisk(ctx context.Context, path string, p partition, k bootable) (err error) {
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	places, err := flatcar.FindPlaces(disk)
	if err != nil {
		return err
	}
	usr, err := os.Open(w.blobs.Path(p.SHA256))
	if err != nil {
		return err
	}
	defer usr.Close()
	const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	if err := unix.Fallocate(int(disk.Fd()), punch, places.UsrA, int64(btrfs.FlatcarPartition)); err != nil {
		return err
	}
	if err := sparse.Overwrite(disk, places.UsrA, usr, 0, p.Size); err != nil {
		return err
	}
	system := esp.Partition{Tools: w.tools, Disk: path, Offset: places.ESP}
	return w.replaceKernel(ctx, system, k)
}

// replaceKernel leaves the file system alone when it has the kernel already, so that embedding twice gives the same disk.
func (w *workshop) replaceKernel(ctx context.Context, system esp.Partition, k bootable) error {
	dir, err := os.MkdirTemp(w.scratch.Dir, "kernel.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	old, replacement := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	if err := system.Read(ctx, esp.SlotA, old); err != nil {
		return err
	}
	if d, _, err := digest.OfFile(old); err != nil || d == k.SHA256 {
		return err
	}
	if err := copyWhole(w.blobs.Path(k.SHA256), replacement); err != nil {
		return err
	}
	if err := os.Chtimes(replacement, w.Epoch, w.Epoch); err != nil {
		return err
	}
	return system.Write(ctx, replacement, esp.SlotA)
}
