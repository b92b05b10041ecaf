// Package flatcartest makes images as Flatcar publishes them, for tests that cannot have the real ones.
package flatcartest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/kernel"
	"github.com/flatcar/oem-sysext/release/format/verity"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// Version is that of all releases made here.
const Version = "4593.2.1"

// Epoch is when they were made.
var Epoch = time.Date(2026, 5, 12, 18, 21, 0, 0, time.UTC)

// OSRelease is a release's os-release, as Flatcar has it.
func OSRelease(version string) string {
	return fmt.Sprintf(`NAME="Flatcar Container Linux by Kinvolk"
ID=flatcar
ID_LIKE=coreos
VERSION=%s
VERSION_ID=%s
BUILD_ID=2026-05-12-1821
SYSEXT_LEVEL=1.0
PRETTY_NAME="Flatcar Container Linux by Kinvolk %s (Oklo)"
FLATCAR_BOARD="amd64-usr"
`, version, version, version)
}

// Usr makes the least that passes for Flatcar's /usr, of files of this machine.
func Usr(t testing.TB, version string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "usr")
	for name, content := range map[string]string{
		"lib/os-release":                             OSRelease(version),
		"lib64/systemd/libsystemd-shared-257.so":     "",
		"lib/modules/6.12.90-flatcar/build/.config":  "CONFIG_SQUASHFS=m\nCONFIG_SQUASHFS_XZ=y\n",
		"share/flatcar/etc/group":                    "root:x:0:\n",
		"share/flatcar/oems/azure":                   "",
		"lib/systemd/system/multi-user.target":       "[Unit]\n",
		"lib/modules/6.12.90-flatcar/kernel/some.ko": "",
	} {
		write(t, filepath.Join(dir, name), []byte(content), 0o644)
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "lib/systemd/systemd"), program, 0o755)
	return dir
}

func write(t testing.TB, path string, content []byte, mode os.FileMode) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, mode), os.Chmod(path, mode), os.Chtimes(path, Epoch, Epoch))
	if err != nil {
		t.Fatal(err)
	}
}

// Partition makes a USR partition of a /usr, and returns its root hash.
func Partition(t testing.TB, tools *toolroot.Root, usr string) (path string, root digest.SHA256) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "flatcar_production_update.bin")
	err := btrfs.Format(t.Context(), tools, path, btrfs.Options{
		Source: usr, UUID: btrfs.UUID{1, 2, 3}, Filesystem: btrfs.FlatcarFilesystem, Partition: btrfs.FlatcarPartition, Epoch: Epoch,
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root, err = verity.Format(t.Context(), f, f, int64(btrfs.FlatcarFilesystem), verity.Params{
		DataBlocks: uint64(btrfs.FlatcarFilesystem / verity.BlockSize), Salt: []byte("of Flatcar"), UUID: [16]byte{4, 5, 6},
	})
	if err != nil {
		t.Fatal(err)
	}
	return path, root
}

// Kernel makes the head of a kernel as Flatcar's are, with a root hash in it unless that is zero.
func Kernel(t testing.TB, root digest.SHA256) string {
	t.Helper()
	k := make([]byte, 64<<10)
	copy(k, "MZ")
	copy(k[64:], "Use a boot loader.\r\n\nRemove disk and press any key to reboot...\r\n\x00")
	binary.LittleEndian.PutUint32(k[0x3c:], 130)
	copy(k[130:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(k[130+24:], 0x20b)
	binary.LittleEndian.PutUint32(k[130+24+108:], 6) // directories, of which the fifth is for signatures
	copy(k[0x202:], "HdrS")
	path := filepath.Join(t.TempDir(), "vmlinuz")
	write(t, path, k, 0o644)
	if root.IsZero() {
		return path
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := kernel.SetRootHash(f, arch.AMD64, root); err != nil {
		t.Fatal(err)
	}
	return path
}

// Disk makes a disk image with a kernel on the EFI system partition. The judges have the programs that make it.
func Disk(t testing.TB, judges *toolroot.Root, partition, kernel string) string {
	t.Helper()
	dir := t.TempDir()
	system := filepath.Join(dir, "esp")
	f, err := os.Create(system)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(int64(64*size.MiB)), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"mkfs.fat", "-F", "32", "-i", "12345678", "--invariant", system},
		{"mmd", "-i", system, "::/flatcar", "::/EFI"},
		{"mcopy", "-m", "-i", system, kernel, "::/flatcar/vmlinuz-a"},
	} {
		c := toolroot.Cmd{Program: args[0], Args: args[1:], Read: []string{kernel}, Write: []string{system}}
		if err := judges.Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	disk := filepath.Join(dir, "flatcar_production_image.bin")
	err = vm.MakeDisk(t.Context(), judges, disk, []vm.Partition{
		{Number: 1, Name: "EFI-SYSTEM", Type: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", Content: system},
		vm.UsrA(partition),
		{Number: 4, Name: "USR-B", Type: disks.UsrType, UUID: disks.UsrBUUID, Size: size.MiB}, // smaller than on real disks, for speed
	})
	if err != nil {
		t.Fatal(err)
	}
	return disk
}
