package vm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/verity"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

const version = "9999.0.0"

// TestBoot boots the reference base with one extension image, and shows that a disk which is not
// what the root hash says does not come up.
func TestBoot(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, base.Programs()...)
	b, tools := prepare(t)
	image := filepath.Join(t.TempDir(), "usr.bin")
	hash := makeImage(t, tools, b, image)

	accel, err := vm.Probe(t.Context(), qemu(t), arch.AMD64, b.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("accelerator", accel.Name)
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := vm.MakeDisk(t.Context(), tools, disk, []vm.Partition{vm.UsrA(image)}); err != nil {
		t.Fatal(err)
	}
	machine := func(t *testing.T, hash digest.SHA256) vm.Machine {
		return vm.Machine{
			Accel: accel, Kernel: b.Kernel, Initrd: b.Initrd, Disk: disk,
			Arguments: base.KernelArguments(disks.UsrAUUID, hash),
			Dir:       t.TempDir(), Timeout: 10 * time.Minute,
		}
	}

	t.Run("sound", func(t *testing.T) {
		report, err := vm.Boot(t.Context(), machine(t, hash), vm.Question{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", report)
		if err := report.Check(version, []string{"hello"}); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong root hash", func(t *testing.T) {
		wrong := hash
		wrong[31] ^= 1
		mustNotBoot(t, machine(t, wrong))
	})
	t.Run("flipped bit", func(t *testing.T) {
		flipBit(t, disk, int64(size.MiB)+64<<10+72) // in btrfs's superblock, at the generation
		mustNotBoot(t, machine(t, hash))
	})
}

// qemu returns the tool root that machines run in.
func qemu(t *testing.T) *toolroot.Root {
	t.Helper()
	root, err := toolroottest.With(t, toolroot.Suite)(t.Context(), "", vm.Packages(arch.AMD64))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestEndOfQEMU shows that QEMU's own words come with an error, and that it does not outlive the time that it has.
func TestEndOfQEMU(t *testing.T) {
	dir := t.TempDir()
	m := vm.Machine{
		Accel: vm.TCG(qemu(t), arch.AMD64), Kernel: idleKernel(t, dir), Disk: filepath.Join(dir, "disk"), Keep: true,
		Dir: t.TempDir(), Timeout: 5 * time.Second,
	}
	if err := os.WriteFile(m.Disk, make([]byte, size.MiB), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vm.Run(t.Context(), m); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	if still := running(t, m.Dir); len(still) > 0 {
		t.Errorf("it still runs: %v", still)
	}
	if err := os.WriteFile(m.Kernel, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := vm.Run(t.Context(), m)
	if err == nil || !strings.HasPrefix(err.Error(), "qemu-system-x86_64: exit status 1: ") || !strings.Contains(err.Error(), m.Kernel) {
		t.Errorf("error is %v", err)
	}
}

// TestQEMUThatGivesItselfUp shows that a machine is started once more, and not for ever, when QEMU fails one of its own assertions.
func TestQEMUThatGivesItselfUp(t *testing.T) {
	dir := t.TempDir()
	m := vm.Machine{
		Accel: vm.TCG(qemu(t), arch.AMD64), Kernel: idleKernel(t, dir), Disk: filepath.Join(dir, "disk"), Keep: true,
		Dir: t.TempDir(), Timeout: time.Minute,
	}
	ended := start(t, m)
	killed := map[int]bool{}
	for {
		select {
		case err := <-ended:
			if want := "exit status 134"; len(killed) != 2 || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("after %d machines the error is %v; wanted two, and %s", len(killed), err, want)
			}
			return
		case <-time.After(50 * time.Millisecond):
			for _, process := range running(t, m.Dir) {
				name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", process))
				if err == nil && strings.HasPrefix(string(name), "qemu-system") && !killed[process] {
					killed[process] = true
					if err := unix.Kill(process, unix.SIGABRT); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
}

// TestKernelIsUnpacked shows that QEMU starts what a real kernel would unpack first, and that nothing of it stays.
func TestKernelIsUnpacked(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, base.Programs()...)
	b, _ := prepare(t)
	m := vm.Machine{
		Accel: vm.TCG(qemu(t), arch.AMD64), Kernel: b.Kernel, Disk: filepath.Join(t.TempDir(), "disk"), Keep: true,
		Dir: t.TempDir(), Timeout: 10 * time.Second,
	}
	ended := start(t, m)
	program, started := filepath.Join(m.Dir, "vmlinux"), false
	for {
		select {
		case err := <-ended: // without a file system
			if !started {
				t.Errorf("no QEMU had %s: %v", program, err)
			}
			if _, err := os.Stat(program); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
			return
		case <-time.After(50 * time.Millisecond):
			started = started || len(running(t, program)) > 0
		}
	}
}

// start boots a machine with a disk that has nothing on it, and returns how that ends.
func start(t *testing.T, m vm.Machine) <-chan error {
	t.Helper()
	if err := os.WriteFile(m.Disk, make([]byte, size.MiB), 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := vm.Run(t.Context(), m)
		ended <- err
	}()
	return ended
}

// idleKernel makes a kernel that does nothing for ever.
func idleKernel(t *testing.T, dir string) string {
	t.Helper()
	// A boot sector and one behind it, whose protocol is so old that nothing else is looked at (the kernel's boot.rst).
	kernel := make([]byte, 2048)
	kernel[0x1f1] = 1                            // setup_sects
	copy(kernel[0x1fe:], "\x55\xaa\xeb\xfeHdrS") // boot_flag, a jump to itself, header
	file := filepath.Join(dir, "kernel")
	if err := os.WriteFile(file, kernel, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// running returns the processes that have a word in their command line.
func running(t *testing.T, word string) (processes []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), word) {
			process, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			processes = append(processes, process)
		}
	}
	return processes
}

// prepare shares the cache of release builds.
func prepare(t *testing.T) (base.Base, *toolroot.Root) {
	archive := toolroottest.Archive(t)
	def, err := base.Load("trixie")
	if err != nil {
		t.Fatal(err)
	}
	release, err := archive.Release(t.Context(), def.Suite, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	results, err := store.OpenResults(filepath.Join(toolroottest.Cache(t), "results"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := base.Make(t.Context(), def, base.Options{
		CacheDir: toolroottest.Cache(t), Results: results, Arch: release.Arch, Version: version, Sources: release.SourceLines(),
		Fingerprint: release.Fingerprint.String(), Epoch: release.SuiteDate(), Log: archive.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b, toolroottest.Open(t)
}

// makeImage makes a partition image of the base with the extension "hello" in it, linked as Flatcar links its own.
func makeImage(t *testing.T, tools *toolroot.Root, b base.Base, image string) digest.SHA256 {
	dir := t.TempDir()
	usr := filepath.Join(dir, "usr")
	copied := run.Cmd{Program: "cp", Args: []string{"--archive", "--link", b.Usr, usr}, Env: run.HostEnv("PATH")}
	if err := run.Run(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	links := filepath.Join(usr, "share/flatcar/etc/extensions")
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/share/flatcar/hello.raw", filepath.Join(links, "hello.raw")); err != nil {
		t.Fatal(err)
	}
	makeExtension(t, tools, filepath.Join(usr, "share/flatcar"))
	err := btrfs.Format(t.Context(), tools, image, btrfs.Options{
		Source: usr, UUID: btrfs.UUID{1}, Filesystem: btrfs.FlatcarFilesystem, Partition: btrfs.FlatcarPartition,
		Epoch: time.Unix(1, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	return hashImage(t, image)
}

func hashImage(t *testing.T, image string) digest.SHA256 {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	params := verity.Params{DataBlocks: uint64(btrfs.FlatcarFilesystem / verity.BlockSize), Salt: []byte{1}, UUID: [16]byte{1}}
	hash, err := verity.Format(t.Context(), f, f, int64(btrfs.FlatcarFilesystem), params)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func makeExtension(t *testing.T, tools *toolroot.Root, dir string) {
	tree := t.TempDir()
	release := filepath.Join(tree, "usr/lib/extension-release.d/extension-release.hello")
	if err := os.MkdirAll(filepath.Dir(release), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(release, []byte("ID=flatcar\nVERSION_ID="+version+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := tools.Run(t.Context(), toolroot.Cmd{
		Program: "mksquashfs",
		Args:    []string{tree, filepath.Join(dir, "hello.raw"), "-all-root", "-quiet"},
		Read:    []string{tree},
		Write:   []string{dir},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func flipBit(t *testing.T, path string, at int64) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var one [1]byte
	if _, err := f.ReadAt(one[:], at); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1
	if _, err := f.WriteAt(one[:], at); err != nil {
		t.Fatal(err)
	}
}

// mustNotBoot wants verity to end the boot, as soon as it sees what is wrong.
func mustNotBoot(t *testing.T, m vm.Machine) {
	started := time.Now()
	report, err := vm.Boot(t.Context(), m, vm.Question{})
	if err == nil {
		t.Fatalf("it booted: %+v", report)
	}
	t.Logf("ended after %v: %v", time.Since(started).Round(time.Second), err)
	if !strings.Contains(err.Error(), "Kernel panic - not syncing: dm-verity") {
		t.Error("verity did not stop it")
	}
}
