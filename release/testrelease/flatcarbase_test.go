package testrelease

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/format/kernel"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
)

// likeFlatcar makes a disk image as Flatcar publishes them: Flatcar's layout of the disk, and a kernel with a place for the root hash.
func likeFlatcar(t *testing.T, usr string, tools, judges *toolroot.Root) string {
	t.Helper()
	partition, root := flatcartest.Partition(t, tools, usr)
	return flatcartest.Disk(t, judges, partition, flatcartest.Kernel(t, root))
}

// usrLikeFlatcar makes a /usr of the reference base's programs, laid out and named as Flatcar's.
func usrLikeFlatcar(t *testing.T) string {
	t.Helper()
	w, err := release.Open(t.Context(), Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	usr := flatcartest.FromDebian(t, w.Base.Usr, w.Base.Arch)
	nameFlatcar(t, usr)
	return usr
}

// nameFlatcar adds what says that a /usr is Flatcar's.
func nameFlatcar(t *testing.T, usr string) {
	t.Helper()
	postinst, err := os.ReadFile(filepath.Join(Checkout(t), "release/bases/base/files/root/usr/bin/flatcar-postinst"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"lib/os-release": flatcartest.OSRelease(flatcartest.Version), partition.UpdateKeyPath: "its key\n",
		partition.UpdateConfPath: "SERVER=https://public.update.flatcar-linux.net/v1/update/\nGROUP=stable\n",
		"bin/flatcar-postinst":   string(postinst),
	} {
		file := filepath.Join(usr, name)
		err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644), os.Chtimes(file, flatcartest.Epoch, flatcartest.Epoch))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFlatcarDiskBecomesARelease takes a disk image with few files. A night takes one with all of a base.
func TestFlatcarDiskBecomesARelease(t *testing.T) {
	usr := goldenUsr(t, flatcartest.Version)
	for _, dir := range []string{"bin", unitDir + "/sysinit.target.wants"} { // as every base has them
		if err := os.MkdirAll(filepath.Join(usr, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	nameFlatcar(t, usr)
	flatcarDiskBecomesARelease(t, usr, goldenCheckout(t))
}

// flatcarDiskBecomesARelease embeds images in a disk image like Flatcar's, lets the real tools judge what comes out,
// and then takes that for the base: it must give the same once more.
func flatcarDiskBecomesARelease(t *testing.T, usr, checkout string) {
	t.Helper()
	Needs(t)
	tools, judges := toolroottest.Open(t), toolroottest.Judges(t)
	disk := likeFlatcar(t, usr, tools, judges)
	before, _, err := digest.OfFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	o := Fresh(t)
	o.Checkout, o.BaseID, o.Version = checkout, disk, ""
	o.UpdateKey = OwnUpdates(t, o.Checkout)
	m, err := release.Assemble(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := ship.VerifyPayload(t.Context(), filepath.Join(o.Output, m.Version, m.Arch, manifest.UpdateFile), PublicHalf(o.UpdateKey), "", io.Discard); err != nil {
		t.Error(err)
	}
	if after, _, err := digest.OfFile(disk); err != nil || after != before {
		t.Errorf("the disk image that was given is another one now: %v", err)
	}
	want := manifest.Base{
		ID: "flatcar", VersionID: flatcartest.Version, Build: "2026-05-12-1821", Systemd: "257", Kernel: m.Base.Kernel, Source: before, Usr: m.Base.Usr,
	}
	if diff := cmp.Diff(want, m.Base); diff != "" || m.Version != flatcartest.Version || m.Epoch != flatcartest.Epoch.Unix() {
		t.Errorf("version %s, epoch %d, base %s", m.Version, m.Epoch, diff)
	}
	o.Version = m.Version
	judgeFlatcarRelease(t, o, m, disk, tools, judges)

	again := o
	again.BaseID, again.Output = filepath.Join(o.Dir(), manifest.DiskFile), t.TempDir()
	second, err := release.Assemble(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if got := fileOf(second, f.Name); got != f {
			t.Errorf("embedded twice: %+v; once: %+v", got, f)
		}
	}
}

func fileOf(m *manifest.Manifest, name string) manifest.File {
	for _, f := range m.Files {
		if f.Name == name {
			return f
		}
	}
	return manifest.File{}
}

func judgeFlatcarRelease(t *testing.T, o setup.Options, m *manifest.Manifest, original string, tools, judges *toolroot.Root) {
	t.Helper()
	file := func(name string) string { return filepath.Join(o.Dir(), name) }
	usr, made := file(manifest.PartitionFile), file(manifest.DiskFile)
	system := filepath.Join(t.TempDir(), "esp")
	f, err := os.Open(made)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	places, err := flatcar.FindPlaces(f)
	if err != nil {
		t.Fatal(err)
	}
	cut(t, made, system, places.ESP, 64<<20)
	for _, c := range []toolroot.Cmd{
		{Program: "btrfs", Args: []string{"check", "--readonly", "--check-data-csum", usr}, Read: []string{usr}},
		{Program: "veritysetup", Args: []string{"verify", usr, usr, m.Partition.RootHash.String(), fmt.Sprintf("--hash-offset=%d", btrfs.FlatcarFilesystem)}, Read: []string{usr}},
	} {
		if err := tools.Run(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []toolroot.Cmd{
		{Program: "sgdisk", Args: []string{"-v", made}, Read: []string{made}},
		{Program: "sfdisk", Args: []string{"--verify", made}, Read: []string{made}},
		{Program: "fsck.fat", Args: []string{"-n", system}, Read: []string{system}},
	} {
		var out strings.Builder
		c.Stdout = &out
		if err := judges.Run(t.Context(), c); err != nil || strings.Contains(out.String(), "Problem") || strings.Contains(out.String(), "Dirty") {
			t.Errorf("%s: %v\n%s", c.Program, err, out.String())
		}
	}
	slot := filepath.Join(t.TempDir(), "slot")
	cut(t, made, slot, places.UsrA, int64(btrfs.FlatcarPartition))
	booted := filepath.Join(t.TempDir(), "vmlinuz-a")
	if err := (esp.Partition{Tools: judges, Disk: made, Offset: places.ESP}).Read(t.Context(), esp.SlotA, booted); err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{slot, usr}, {booted, file(manifest.KernelFile)}} {
		if err := run.Run(t.Context(), run.Cmd{Program: "cmp", Args: pair[:], Env: run.HostEnv("PATH")}); err != nil {
			t.Error(err)
		}
	}
	for _, part := range []struct{ from, length int64 }{{0, places.ESP}, {places.UsrA + int64(btrfs.FlatcarPartition), 2 << 20}} {
		a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
		cut(t, made, a, part.from, part.length)
		cut(t, original, b, part.from, part.length)
		if err := run.Run(t.Context(), run.Cmd{Program: "cmp", Args: []string{a, b}, Env: run.HostEnv("PATH")}); err != nil {
			t.Errorf("outside of slot and kernel: %v", err)
		}
	}
	k, err := os.Open(booted)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if root, err := kernel.RootHash(k, arch.AMD64); err != nil || root != m.Partition.RootHash || m.Kernel.RootHash != manifest.InKernel {
		t.Errorf("the kernel has the root hash %v, %v (%+v); want %v", root, err, m.Kernel, m.Partition.RootHash)
	}
	originalUsr := filepath.Join(t.TempDir(), "original")
	cut(t, original, originalUsr, places.UsrA, int64(btrfs.FlatcarPartition))
	compareUsr(t, originalUsr, usr)
}

// cut copies a part of a file.
func cut(t *testing.T, from, to string, offset, length int64) {
	t.Helper()
	err := run.Run(t.Context(), run.Cmd{
		Program: "dd", Env: run.HostEnv("PATH"),
		Args: []string{"if=" + from, "of=" + to, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none",
			fmt.Sprintf("skip=%d", offset), fmt.Sprintf("count=%d", length)},
	})
	if err != nil {
		t.Fatal(err)
	}
}

const unitDir = "lib/systemd/system"

// compareUsr compares a partition with what it was before images were embedded. New files must be compressed as the
// directory says, and the default subvolume read-only.
func compareUsr(t *testing.T, original, usr string) {
	t.Helper()
	extracted := filepath.Join(t.TempDir(), "usr")
	if err := btrfs.Extract(t.Context(), original, extracted); err != nil {
		t.Fatal(err)
	}
	err := btrfs.View(t.Context(), usr, func(root string) error {
		out, err := run.Output(t.Context(), run.Cmd{
			Program: "sh", Args: []string{"-c", `diff -rq --no-dereference "$0" "$1" || test $? = 1`, extracted, root}, Env: run.HostEnv("PATH"),
		})
		if err != nil {
			return err
		}
		var more []string // the paths that only the release has, or has differently
		for line := range strings.Lines(string(out)) {
			if file, differs := strings.CutSuffix(strings.TrimSpace(line), " differ"); differs {
				more = append(more, strings.TrimPrefix(file[strings.LastIndex(file, " ")+1:], root+"/"))
				continue
			}
			dir, name, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "Only in "+root), ": ")
			more = append(more, strings.TrimPrefix(dir+"/"+name, "/"))
		}
		want := []string{
			"bin/flatcar-postinst", activate.Command, path.Dir(activate.Script), unitDir + "/" + activate.Unit, unitDir + "/" + activate.MountUnit,
			unitDir + "/sysinit.target.wants/" + activate.Unit, embed.Dir, partition.UpdateConfPath, partition.UpdateKeyPath,
		}
		if diff := cmp.Diff(want, more); diff != "" {
			t.Errorf("the partition differs from the base's: %s", diff)
		}
		property := make([]byte, 16)
		n, err := unix.Getxattr(filepath.Join(root, embed.Dir, "oem-vagrant.raw"), "btrfs.compression", property)
		if err != nil || string(property[:n]) != "zstd" {
			t.Errorf("an image has the property %q, %v", property[:n], err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
