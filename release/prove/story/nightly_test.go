//go:build nightly

package story_test

import (
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/prove/story"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// TestNightlyRollback updates a machine in Azure, whose tools are in several images, from an older release, and back again.
func TestNightlyRollback(t *testing.T) {
	made := testrelease.Made(t)
	p := prover(t, made)
	old := made.Options
	old.Version, old.Output, old.Platforms = "9998.0.0", t.TempDir(), []string{"azure"}
	if _, err := release.Assemble(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	from, err := story.Open(old.Dir())
	if err != nil {
		t.Fatal(err)
	}
	to, err := story.Open(made.Options.Dir())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(made.Choice.Catalogue, func(p *platform.Platform) bool { return p.ID.Value == "azure" })
	machines, err := story.Teller{Prover: p, From: from, To: to}.Rollback(t.Context(), made.Choice.Catalogue[at])
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
