//go:build nightly

package testrelease

import (
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
)

// TestNightlySeveralMachines compares all platforms.
func TestNightlySeveralMachines(t *testing.T) { severalMachinesGive(t, Made(t).Options) }

// TestNightlyFlatcarDisk takes a disk image with the reference base's programs, by which the release's units are checked.
func TestNightlyFlatcarDisk(t *testing.T) {
	flatcarDiskBecomesARelease(t, usrLikeFlatcar(t), SmallCheckout(t))
}

// TestNightlyCatalogueForARM64 is TestCatalogueOnFlatcarsLayout for the other architecture, as far as it can be seen without running anything:
// all libraries and symbols are found, and all else that is checked is right.
func TestNightlyCatalogueForARM64(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, append(base.Programs(), "go", "bwrap", "unshare")...)
	o := Fresh(t)
	o.Arch, o.Locked = arch.ARM64, true
	w, err := release.OpenForImages(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Bench.Close()
	usr := flatcartest.FromDebian(t, w.Base.Usr, w.Base.Arch)
	scanned, err := tree.Scan(usr, digest.OfReader)
	if err != nil {
		t.Fatal(err)
	}
	w.Base.Target = &target.Base{Name: flatcar.ID, ID: "flatcar", VersionID: w.Base.VersionID, Arch: w.Base.Arch, Usr: scanned.Below("/usr"), Dir: usr}
	factory, err := w.Factory()
	if err != nil {
		t.Fatal(err)
	}
	staged, err := factory.Stage(t.Context(), w.Choice.Chosen)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/usr/bin/waagent", "/usr/bin/python3", "/usr/lib/oem-chrony/lib/libseccomp.so.2"} {
		if !slices.ContainsFunc(staged, func(s oem.Staged) bool { return s.Tree.At(want) != nil }) {
			t.Errorf("no platform has %s", want)
		}
	}
	for _, s := range staged {
		if below := s.Tree.Under("/usr/lib/aarch64-linux-gnu"); len(below) > 0 {
			t.Errorf("%s has %v in Debian's directory", s.Platform.ID, below.Listing())
		}
	}
}

// Each kind of fault comes twice.
func TestNightlyFaults(t *testing.T) { disturb(t, 18) }
