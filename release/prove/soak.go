package prove

import (
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/release/vm"
)

// soakMemoryKiB is how much less memory may be available in the last quarter of a soak than in its first half, each time at most:
// what just runs takes some for a moment, and what is left behind is missing from then on. Where nothing was left behind,
// 200 refreshes made a difference of 1.2 MiB and less in machines of Hetzner; one of Azure had three samples in its first half
// that were 5 to 8 MiB above all others, for a reason that is not known.
const soakMemoryKiB = 4 << 10

// soakOutcomes are what is asserted of a machine that has refreshed again and again. The first sample is where it must stay.
func soakOutcomes(s *vm.Soak) []Outcome {
	if s == nil || len(s.Samples) < 2 || s.Looks == 0 {
		return []Outcome{{Assertion: "refreshes were counted", Error: fmt.Sprintf("there are %+v; wanted two samples at least", s)}}
	}
	first, half := s.Samples[0], len(s.Samples)/2
	most := func(samples []vm.Sample, of func(vm.Sample) int) int {
		return of(slices.MaxFunc(samples, func(a, b vm.Sample) int { return of(a) - of(b) }))
	}
	grown := func(what string, first, most int) string {
		if most <= first {
			return ""
		}
		return fmt.Sprintf("%d %s after %d refreshes, up to %d after that", first, what, s.Samples[0].Refreshes, most)
	}
	outcomes := []Outcome{
		{"refreshes leave no mounts behind", grown("mounts", first.Mounts, most(s.Samples, func(s vm.Sample) int { return s.Mounts }))},
		{"refreshes leave no loop devices behind", grown("loop devices", first.Devices, most(s.Samples, func(s vm.Sample) int { return s.Devices }))},
		{Assertion: "refreshes leave no memory behind"},
		{Assertion: "programs of the base are there while a refresh runs"},
	}
	available := func(s vm.Sample) int { return s.AvailableKiB }
	late := s.Samples[half+half/2:]
	if lost := most(s.Samples[:half], available) - most(late, available); lost > soakMemoryKiB {
		outcomes[2].Error = fmt.Sprintf("%d KiB less were available from refresh %d on than up to %d; wanted %d at most", lost, late[0].Refreshes, s.Samples[half-1].Refreshes, soakMemoryKiB)
	}
	if s.Away > 0 {
		outcomes[3].Error = fmt.Sprintf("%d times of %d there was no %s", s.Away, s.Looks, someProgram)
	}
	return outcomes
}
