//go:build nightly

package story_test

import (
	"testing"

	"github.com/flatcar/oem-sysext/release/ship"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// TestNightlyRollback updates a machine in Azure, whose tools are in several images, from an older release, by what has changed since, and
// back again.
func TestNightlyRollback(t *testing.T) {
	teller, azure := tellerFrom(t, "azure")
	o := testrelease.Made(t).Options
	o.Proof.Out = t.TempDir()
	var err error
	if teller.Delta, err = ship.WriteDelta(t.Context(), o, teller.From.Dir, teller.To.Dir); err != nil {
		t.Fatal(err)
	}
	machines, err := teller.Rollback(t.Context(), azure)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines {
		t.Logf("%+v", m)
		if m.Failed() {
			t.Errorf("%s: failed", m.Step)
		}
	}
	if len(machines) != 5 || len(machines[3].Images) < 2 {
		t.Errorf("machines are %+v", machines)
	}
}
