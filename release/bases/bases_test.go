package bases

import (
	"runtime"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
)

// A host that cannot run programs of an architecture makes its images all the same, and releases that need no such program.
func TestEmulatorIsAskedFor(t *testing.T) {
	needs.Root(t)
	const nobodys arch.Arch = "pdp11"
	reference := named{id: "trixie"}
	scratch := &store.Scratch{Dir: t.TempDir()}
	err := (&workshop{Options: Options{Arch: nobodys}, named: reference, scratch: scratch}).checkEmulator(t.Context())
	if err == nil || !strings.Contains(err.Error(), `"ARCH=pdp11 scripts/mage release" installs an emulator`) {
		t.Errorf("error is %v", err)
	}
	for name, w := range map[string]*workshop{
		"images":            {Options: Options{Arch: nobodys}, named: reference, imagesOnly: true},
		"release of a base": {Options: Options{Arch: nobodys}, named: named{id: "flatcar", release: flatcar.Reference{Version: "1.2.3"}}},
		"own architecture":  {Options: Options{Arch: arch.Arch(runtime.GOARCH)}, named: reference},
	} {
		w.scratch = scratch
		if err := w.checkEmulator(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
