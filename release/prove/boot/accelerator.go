package boot

import (
	"context"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/setup"
)

// ConsolesDir is in the output directory.
const ConsolesDir = "consoles"

// Timeout is twice what a boot takes on a busy host without hardware virtualisation.
const Timeout = 10 * time.Minute

// QEMU returns the tool root that machines run in.
func QEMU(ctx context.Context, bench *setup.Bench, a arch.Arch) (*toolroot.Root, error) {
	return bench.ScriptTools(ctx, "", vm.Packages(a))
}

// Accelerator returns how machines with a kernel run here.
func Accelerator(ctx context.Context, bench *setup.Bench, a arch.Arch, kernel string) (vm.Accel, error) {
	qemu, err := QEMU(ctx, bench, a)
	if err != nil {
		return vm.Accel{}, err
	}
	return vm.Probe(ctx, qemu, a, kernel)
}
