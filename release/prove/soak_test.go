package prove

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/release/vm"
)

func soaked() *vm.Soak {
	sample := func(refreshes, mounts, availableKiB int) vm.Sample {
		return vm.Sample{Refreshes: refreshes, Mounts: mounts, Devices: 4, AvailableKiB: availableKiB}
	}
	return &vm.Soak{
		Samples: []vm.Sample{sample(10, 40, 900_000), sample(20, 40, 899_000), sample(30, 39, 899_500)},
		Looks:   1000, GoneMicroseconds: 90_000,
	}
}

// Each way in which refreshes can wear a machine out fails one assertion, and every assertion has one.
func TestEachWearFailsOneAssertion(t *testing.T) {
	if names := failed(soakOutcomes(soaked())); names != nil {
		t.Errorf("failed: %v", names)
	}
	var tried []string
	for want, wear := range map[string]func(*vm.Soak){
		"refreshes leave no mounts behind":                    func(s *vm.Soak) { s.Samples[1].Mounts++ },
		"refreshes leave no loop devices behind":              func(s *vm.Soak) { s.Samples[2].Devices++ },
		"refreshes leave no memory behind":                    func(s *vm.Soak) { s.Samples[2].AvailableKiB -= soakMemoryKiB },
		"programs of the base are there while a refresh runs": func(s *vm.Soak) { s.Away = 1 },
	} {
		s := soaked()
		wear(s)
		if diff := cmp.Diff([]string{want}, failed(soakOutcomes(s))); diff != "" {
			t.Error(diff)
		}
		tried = append(tried, want)
	}
	for _, o := range soakOutcomes(soaked()) {
		if !slices.Contains(tried, o.Assertion) {
			t.Errorf("nothing makes this fail: %s", o.Assertion)
		}
	}
	for name, s := range map[string]*vm.Soak{"none": nil, "one sample": {Samples: soaked().Samples[:1], Looks: 1}, "nobody looked": {Samples: soaked().Samples}} {
		if failed(soakOutcomes(s)) == nil {
			t.Errorf("%s: nothing failed", name)
		}
	}
}
