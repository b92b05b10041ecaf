package story

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

var someExpectation = boot.Expectation{Images: []string{"oem-azure", "oem-shared-1"}}

func failed(outcomes []proof.Outcome) []string {
	var names []string
	for _, o := range outcomes {
		if o.Error != "" {
			names = append(names, o.Assertion)
		}
	}
	return names
}

// Each way of taking a foreign image fails one assertion, and every assertion has one.
func TestEachImageThatIsTakenFailsOneAssertion(t *testing.T) {
	refusing := func() []vm.Attempt {
		return []vm.Attempt{
			{Name: garbage, Status: 1, Why: "garbage - yes yes no it was put there; linked, but not merged: Failed to open it"},
			{Name: otherVersion, Merged: someExpectation.Images, Why: "other-version - yes yes no linked, but not merged: it is for version 1"},
			{Name: unsigned, Status: 1},
		}
	}
	if names := failed(refused(someExpectation, refusing())); names != nil {
		t.Errorf("failed: %v", names)
	}
	var tried []string
	for _, c := range []struct {
		spoil func([]vm.Attempt)
		want  int
	}{
		{func(a []vm.Attempt) { a[0].Status = 0 }, 0},
		{func(a []vm.Attempt) { a[0].Merged = []string{garbage} }, 0},
		{func(a []vm.Attempt) { a[0].Why = "" }, 3},
		{func(a []vm.Attempt) { a[1].Why = "linked, but not merged: systemd-sysext does not say why; see" }, 3},
		{func(a []vm.Attempt) { a[1].Merged = append([]string{otherVersion}, a[1].Merged...) }, 1},
		{func(a []vm.Attempt) { a[1].Merged = nil }, 1},
		{func(a []vm.Attempt) { a[1].Status = 1 }, 1},
		{func(a []vm.Attempt) { a[2].Status = 0 }, 2},
		{func(a []vm.Attempt) { a[2].Merged = []string{unsigned} }, 2},
	} {
		attempts := refusing()
		c.spoil(attempts)
		outcomes := refused(someExpectation, attempts)
		if diff := cmp.Diff([]string{outcomes[c.want].Assertion}, failed(outcomes)); diff != "" {
			t.Errorf("%+v: %s", attempts, diff)
		}
		tried = append(tried, outcomes[c.want].Assertion)
	}
	for _, o := range refused(someExpectation, refusing()) {
		if !slices.Contains(tried, o.Assertion) {
			t.Errorf("nothing makes this fail: %s", o.Assertion)
		}
	}
}
