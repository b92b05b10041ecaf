package vm

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// A kernel tells its ports apart by their names, and learns of credentials by the firmware, so all of these have to fit each other.
func TestMachinesOfEachArchitecture(t *testing.T) {
	for a, want := range map[arch.Arch]struct{ program, machine, console, report, firmware string }{
		arch.AMD64: {"qemu-system-x86_64", "q35", "console=ttyS0,", "/dev/ttyS1", ""},
		arch.ARM64: {"qemu-system-aarch64", "virt", "console=ttyAMA0,", "/dev/ttyAMA1", "/QEMU_EFI.fd"},
	} {
		b := TCG(nil, a).board
		args := strings.Join(Machine{Accel: TCG(nil, a)}.hardware(), " ")
		if b.program != want.program || !strings.Contains(b.reportUnit(), "StandardOutput=file:"+want.report+"\n") {
			t.Errorf("%s: %s runs it, and its report is\n%s", a, b.program, b.reportUnit())
		}
		if !strings.Contains(args, "-machine "+want.machine) || !strings.Contains(args, " "+want.console) {
			t.Errorf("%s: arguments are %s", a, args)
		}
		if at := slices.Index(b.machine, "-bios"); want.firmware != "" && (at < 0 || !strings.HasSuffix(b.machine[at+1], want.firmware)) {
			t.Errorf("%s: arguments are %s", a, args)
		}
	}
}

// Another architecture's kernel is not even tried with the host's processor.
func TestProbeOfAnotherArchitecture(t *testing.T) {
	other := map[string]arch.Arch{"amd64": arch.ARM64, "arm64": arch.AMD64}[runtime.GOARCH]
	if accel, err := Probe(t.Context(), nil, other, "no such kernel"); err != nil || accel.Name != tcg || accel.board.program != boards[other].program {
		t.Errorf("it is %+v, %v", accel, err)
	}
}
