package vm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/run"
)

// Accel is how QEMU runs the guest's instructions.
type Accel struct {
	Name            string
	args            []string
	processors      int
	kernelArguments []string
}

const tcg = "tcg"

// TCG translates instructions. It works everywhere and takes some ten times as long as KVM.
//
// Two things make up a third of a boot there and are switched off. The string instructions that a kernel
// prefers on a processor with erms or fsrm are translated byte by byte; all kernels fill a page with them,
// and Debian's fills each page that it hands out (init_on_alloc). Five-level page tables (la57) make
// each miss of the translation buffer one step longer. What kernels do against spying processors is wasted on an emulated one.
func TCG() Accel {
	return Accel{
		Name:       tcg,
		args:       []string{"-accel", "tcg,thread=multi", "-cpu", "max,la57=off,erms=off,fsrm=off"},
		processors: 2,
		kernelArguments: []string{
			"init_on_alloc=0", "mitigations=off",
			// On a busy host what takes seconds takes minutes, and is no failure for that (systemd(1), kernel command line).
			"systemd.default_device_timeout_sec=300", "systemd.default_timeout_start_sec=300",
		},
	}
}

// Shared is for guests of which several run at a time. Emulated, each has one processor: with a second one a boot is over sooner,
// but takes a third more of the host's time, which the other guests can use.
func (a Accel) Shared() Accel {
	if a.Name == tcg {
		a.processors = 1
	}
	return a
}

// KVM uses the processor itself.
func KVM() Accel {
	return Accel{Name: "kvm", args: []string{"-accel", "kvm", "-cpu", "host"}, processors: 2}
}

// probeTimeout is several times what KVM needs to boot a kernel.
const probeTimeout = 5 * time.Second

// Probe returns KVM where a kernel boots with it, else TCG. That /dev/kvm opens proves nothing:
// with nested virtualisation a guest may hang in its firmware.
func Probe(ctx context.Context, kernel string) (Accel, error) {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG(), nil
	}
	if err := device.Close(); err != nil {
		return Accel{}, err
	}
	dir, err := os.MkdirTemp("", "vm-probe.*")
	if err != nil {
		return Accel{}, err
	}
	defer os.RemoveAll(dir)
	console := filepath.Join(dir, "console.log")
	short, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	// Without a root file system the kernel panics, and the machine ends.
	err = run.Run(short, run.Cmd{
		Program: "qemu-system-x86_64",
		Args: append(KVM().args, "-nodefaults", "-display", "none", "-no-reboot", "-serial", "file:"+console,
			"-kernel", kernel, "-append", "console=ttyS0 panic=-1"),
		Env: run.HostEnv("PATH"),
	})
	if ctx.Err() != nil {
		return Accel{}, ctx.Err()
	}
	output, readErr := os.ReadFile(console)
	if err == nil && readErr == nil && strings.Contains(string(output), "Kernel panic") {
		return KVM(), nil
	}
	return TCG(), nil
}
