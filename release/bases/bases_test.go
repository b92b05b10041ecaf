package bases

import (
	"runtime"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/release/bases/features"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/setup"
)

// A host that cannot run programs of an architecture makes its images all the same, and releases that need no such program.
func TestEmulatorIsAskedFor(t *testing.T) {
	needs.Root(t)
	const nobodys arch.Arch = "pdp11"
	reference := Name{ID: "trixie"}
	scratch := t.TempDir()
	err := CheckEmulator(t.Context(), Request{Arch: nobodys, Name: reference}, scratch)
	if err == nil || !strings.Contains(err.Error(), `"ARCH=pdp11 scripts/mage release" installs an emulator`) {
		t.Errorf("error is %v", err)
	}
	for name, r := range map[string]Request{
		"images":            {Arch: nobodys, Name: reference, ImagesOnly: true},
		"release of a base": {Arch: nobodys, Name: Name{ID: "flatcar", Release: flatcar.Reference{Version: "1.2.3"}}},
		"own architecture":  {Arch: arch.Arch(runtime.GOARCH), Name: reference},
	} {
		if err := CheckEmulator(t.Context(), r, scratch); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestImageKind(t *testing.T) {
	for _, c := range []struct {
		asked   setup.ImageKind
		systemd string
		signed  bool
	}{
		{"", "255.8", false},
		{"", "257.13", false},
		{"", "258", true},
		{"", "258~rc1", true},
		{"", "262", true},
		{setup.BareImages, "262", false},
		{setup.SignedImages, "257.13", true},
		{setup.SignedImages, "", true},
	} {
		b := &Base{Features: features.Of(c.systemd)}
		if got, err := b.SignedImages(c.asked); got != c.signed || err != nil {
			t.Errorf("IMAGES=%s for systemd %s: signed is %v, %v; want %v", c.asked, c.systemd, got, err, c.signed)
		}
	}
	b := &Base{Features: features.Of("")}
	if got, err := b.SignedImages(""); err == nil || !strings.Contains(err.Error(), "IMAGES") {
		t.Errorf("for no systemd: %v, %v", got, err)
	}
}
