package boot

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/release/prove/vm"
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
		"refreshes leave no mounts behind":       func(s *vm.Soak) { s.Samples[1].Mounts++ },
		"refreshes leave no loop devices behind": func(s *vm.Soak) { s.Samples[2].Devices++ },
		"refreshes leave no memory behind": func(s *vm.Soak) {
			for i := range s.Samples[1:] {
				s.Samples[1+i].AvailableKiB -= soakMemoryKiB
			}
		},
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

// What runs or does not run while one sample is taken is not a loss. The numbers are of 200 refreshes in machines that lost nothing,
// but of MemAvailable, which differs from sample to sample by more than what is counted today.
func TestMemoryInUseForAMomentIsNotLost(t *testing.T) {
	for platform, available := range map[string][]int{
		"hetzner": {
			1307876, 1305608, 1306284, 1312792, 1298944, 1306316, 1313536, 1306904, 1301552, 1310184,
			1312088, 1308068, 1305260, 1306432, 1305536, 1311892, 1312304, 1307168, 1311212, 1296620,
		},
		"azure": {
			1288352, 1288528, 1289880, 1288820, 1289000, 1288532, 1293760, 1288904, 1296812, 1293040,
			1288768, 1288372, 1288900, 1288732, 1288812, 1288692, 1288716, 1288840, 1289204, 1289532,
		},
	} {
		t.Run(platform, func(t *testing.T) {
			outcomes := func(left func(i int) int) []string {
				s := soaked()
				s.Samples = nil
				for i, kib := range available {
					s.Samples = append(s.Samples, vm.Sample{Refreshes: 10 * (i + 1), Mounts: 31, Devices: 12, AvailableKiB: kib - left(i)})
				}
				return failed(soakOutcomes(s))
			}
			for how, left := range map[string]func(i int) int{
				"at no time":   func(int) int { return 0 },
				"for a moment": func(i int) int { return map[int]int{17: 9000}[i] },
			} {
				if names := outcomes(left); names != nil {
					t.Errorf("left behind %s: failed: %v", how, names)
				}
			}
			for how, left := range map[string]func(i int) int{
				"at each refresh": func(i int) int { return i * 600 },
				"from a late one": func(i int) int { return max(0, i-11) * 1500 },
				"once":            func(i int) int { return min(i/3, 1) * 9000 },
				"once, soon":      func(i int) int { return min(i, 1) * 9000 },
			} {
				if diff := cmp.Diff([]string{"refreshes leave no memory behind"}, outcomes(left)); diff != "" {
					t.Errorf("left behind %s: %s", how, diff)
				}
			}
		})
	}
}
