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
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

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
	b := prepare(t)
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
func prepare(t *testing.T) base.Base {
	t.Helper()
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
		CacheDir: toolroottest.Cache(t), Results: results, Arch: release.Arch, Version: "9999.0.0", Sources: release.SourceLines(), Keyring: release.Keyring(),
		Fingerprint: release.Fingerprint.String(), Epoch: release.SuiteDate(), Tools: toolroottest.Open(t), Log: archive.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
