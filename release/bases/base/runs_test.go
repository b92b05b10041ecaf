package base

import (
	"runtime"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
)

func TestCanRun(t *testing.T) {
	needs.Root(t)
	native := arch.Arch(runtime.GOARCH)
	if !CanRun(t.Context(), native, t.TempDir()) {
		t.Error("this host cannot run its own programs")
	}
	defer func(p program) { programs[native] = p }(programs[native])
	programs[native] = program{0xfff0, programs[native].code} // a machine that nobody has
	if CanRun(t.Context(), native, t.TempDir()) {
		t.Error("this host runs anything")
	}
}
