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
	Name string
	args []string
}

// TCG translates instructions. It works everywhere and takes some ten times as long as KVM.
//
// Five-level page tables (la57) are left out because kernels spend long on them there.
func TCG() Accel {
	return Accel{"tcg", []string{"-accel", "tcg,thread=multi", "-cpu", "max,la57=off"}}
}

// KVM uses the processor itself.
func KVM() Accel {
	return Accel{"kvm", []string{"-accel", "kvm", "-cpu", "host"}}
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
