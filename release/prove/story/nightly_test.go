//go:build nightly

package story_test

import "testing"

// TestNightlyRollback updates a machine in Azure, whose tools are in several images, from an older release, and back again.
func TestNightlyRollback(t *testing.T) {
	teller, azure := tellerFrom(t, "azure")
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
	if len(machines) != 4 || len(machines[2].Images) < 2 {
		t.Errorf("machines are %+v", machines)
	}
}
