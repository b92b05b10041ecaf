package prove

import (
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release/prove"
)

// prover boots what was written to the release directory.
func prover(t *testing.T) *prove.Prover {
	t.Helper()
	theRelease(t)
	accel, err := made.workshop.accelerator(t.Context(), file(kernelFile))
	if err != nil {
		t.Fatal(err)
	}
	return &prove.Prover{
		Tools: made.workshop.tools, Accel: accel, Scratch: t.TempDir(), Consoles: t.TempDir(), Timeout: bootTimeout, Jobs: 1, Log: made.workshop.Log,
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

// TestRollback updates a machine in Azure, whose tools are in several images, from an older release, and back again.
func TestRollback(t *testing.T) {
	p := prover(t)
	old := made.workshop.Options
	old.Version, old.Output, old.Platforms = "9998.0.0", t.TempDir(), []string{"azure"}
	if _, err := Assemble(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	from, err := openInstallable(old.Dir())
	if err != nil {
		t.Fatal(err)
	}
	to, err := openInstallable(made.workshop.Dir())
	if err != nil {
		t.Fatal(err)
	}
	machines, err := p.Rollback(t.Context(), from, to, thePlatform(t, "azure"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines {
		t.Logf("%+v", m)
		if m.Failed() {
			t.Errorf("%s: failed", m.Step)
		}
	}
	if len(machines) != 4 || len(machines[2].Images) < 2 {
		t.Errorf("machines are %+v", machines)
	}
}
