package ship

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
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Kernel is the kernel of a release, in the blob store.
type Kernel struct {
	SHA256 digest.SHA256
	Size   int64
	Facts  manifest.Kernel
}

// Kernel makes the kernel that boots a partition: the base's, with the root hash where Flatcar's boot loader looks for it.
// That invalidates a Secure Boot signature, which is stripped, and made anew if there is a key. A kernel without a field for
// the root hash, such as a reference base's, stays unchanged: its root hash goes on the command line.
func (s *Shipper) Kernel(ctx context.Context, p partition.Partition) (Kernel, error) {
	path := filepath.Join(s.Bench.Scratch, "kernel")
	if err := copyWhole(s.Base.Kernel, path); err != nil {
		return Kernel{}, err
	}
	facts, err := s.fillKernel(ctx, path, p.Verity.RootHash)
	if err != nil {
		return Kernel{}, err
	}
	d, n, err := s.Bench.Blobs.AddFile(path)
	return Kernel{d, n, facts}, err
}

// fillKernel changes a copy of the base's kernel and records what it did.
func (s *Shipper) fillKernel(ctx context.Context, path string, root digest.SHA256) (facts manifest.Kernel, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return facts, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	facts.RootHash = manifest.InKernel
	err = kernel.SetRootHash(f, s.Base.Arch, root)
	if none := (*kernel.NoFieldError)(nil); errors.As(err, &none) {
		s.Bench.Log.Info("no field for the root hash in the kernel; pass it on the kernel's command line, as verity.usrhash=", "reason", none.Reason)
		return manifest.Kernel{RootHash: manifest.OnCommandLine}, nil
	}
	if err != nil {
		return facts, err
	}
	info, err := f.Stat()
	if err != nil {
		return facts, err
	}
	facts.Stripped, err = kernel.StripSignature(f, size.Bytes(info.Size()))
	if err != nil {
		return facts, err
	}
	if s.Keys.Boot == nil {
		if facts.Stripped {
			s.Bench.Log.Warn("the kernel has a new root hash, so its Secure Boot signature was stripped; set SECURE_BOOT_KEY to sign it again")
		}
		return facts, nil
	}
	facts.SignedBy, err = s.signKernel(ctx, f)
	return facts, err
}

// signKernel signs a kernel and returns the digest of the certificate.
func (s *Shipper) signKernel(ctx context.Context, f *os.File) (digest.SHA256, error) {
	info, err := f.Stat()
	if err != nil {
		return digest.SHA256{}, err
	}
	err = kernel.Sign(ctx, f, size.Bytes(info.Size()), manifest.KernelFile, s.Keys.Boot)
	if missing := (*sign.MissingError)(nil); errors.As(err, &missing) {
		err = s.Keys.Boot.Finish()
	}
	if err != nil {
		return digest.SHA256{}, fmt.Errorf("sign the kernel for Secure Boot: %w", err)
	}
	return digest.Of(s.Keys.Boot.Certificate().Raw), nil
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

// diskImage makes a copy of the base's disk image with the release's partition and kernel in its first slot. Nothing else on
// the disk changes, in particular not its partition table.
func (s *Shipper) diskImage(ctx context.Context, p partition.Partition, k Kernel) (manifest.File, error) {
	inputs := []any{s.Bench.CacheName(s.Base.Disk), p.SHA256, k.SHA256, s.Base.Epoch.Unix(), s.Bench.Tools.Versions(esp.Tools...)}
	names := func(f manifest.File) []store.Blob { return setup.Blobs(f.Installed()) }
	return store.Memo(ctx, s.Bench.Results.Step("disk", inputs), names, func() (manifest.File, error) {
		path := filepath.Join(s.Bench.Scratch, "disk")
		if err := copyWhole(s.Base.Disk, path); err != nil {
			return manifest.File{}, err
		}
		if err := s.fillDisk(ctx, path, p, k); err != nil {
			return manifest.File{}, err
		}
		d, n, err := s.Bench.Blobs.AddFile(path)
		return manifest.File{Name: manifest.DiskFile, Size: size.Bytes(n), SHA256: d}, err
	})
}

func (s *Shipper) fillDisk(ctx context.Context, path string, p partition.Partition, k Kernel) (err error) {
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	places, err := flatcar.FindPlaces(disk)
	if err != nil {
		return err
	}
	usr, err := os.Open(s.Bench.Blobs.Path(p.SHA256))
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
	system := esp.Partition{Tools: s.Bench.Tools, Disk: path, Offset: places.ESP}
	return s.replaceKernel(ctx, system, k)
}

// replaceKernel writes the kernel only if it differs, so that embedding twice gives the same disk.
func (s *Shipper) replaceKernel(ctx context.Context, system esp.Partition, k Kernel) error {
	dir, err := os.MkdirTemp(s.Bench.Scratch, "kernel.")
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
	if err := copyWhole(s.Bench.Blobs.Path(k.SHA256), replacement); err != nil {
		return err
	}
	if err := os.Chtimes(replacement, s.Base.Epoch, s.Base.Epoch); err != nil {
		return err
	}
	return system.Write(ctx, replacement, esp.SlotA)
}
