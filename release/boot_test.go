package release

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/needs"
	"github.com/flatcar/oem-sysext/oem/platform"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/vm"
)

// prover boots what was written to the release directory.
func prover(t *testing.T) *prove.Prover {
	t.Helper()
	theRelease(t)
	needs.Programs(t, vm.Programs()...)
	accel, err := vm.Probe(t.Context(), file(kernelFile))
	if err != nil {
		t.Fatal(err)
	}
	return &prove.Prover{
		Tools: made.workshop.tools, Accel: accel, Scratch: t.TempDir(), Consoles: t.TempDir(), Timeout: 5 * time.Minute, Jobs: 1,
	}
}

func thePlatform(t *testing.T, id string) *platform.Platform {
	t.Helper()
	at := slices.IndexFunc(made.workshop.catalogue, func(p *platform.Platform) bool { return p.ID.Value == id })
	if at < 0 {
		t.Fatalf("no platform %s", id)
	}
	return made.workshop.catalogue[at]
}

// TestProof boots the release in Azure, whose tools are in several images.
func TestProof(t *testing.T) {
	p := prover(t)
	r, err := prove.Open(filepath.Dir(file(kernelFile)))
	if err != nil {
		t.Fatal(err)
	}
	proof, err := p.Platforms(t.Context(), r, []*platform.Platform{thePlatform(t, "azure")}, func(prove.Machine) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range proof.Machines {
		t.Logf("%+v", m)
		if m.Failed() || len(m.Images) < 2 {
			t.Errorf("%s failed", m.Platform)
		}
	}
}
