package prove

import (
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/release/vm"
)

// soakMemoryKiB is how much less memory may be available after many refreshes than after ten. In a machine
// where nothing was left behind it went up and down by 2 MiB.
const soakMemoryKiB = 8 << 10

// soakOutcomes are what is asserted of a machine that has refreshed again and again. The first sample is where it must stay.
func soakOutcomes(s *vm.Soak) []Outcome {
	if s == nil || len(s.Samples) < 2 || s.Looks == 0 {
		return []Outcome{{Assertion: "refreshes were counted", Error: fmt.Sprintf("there are %+v; wanted two samples at least", s)}}
	}
	first, last := s.Samples[0], s.Samples[len(s.Samples)-1]
	most := func(of func(vm.Sample) int) int {
		return of(slices.MaxFunc(s.Samples, func(a, b vm.Sample) int { return of(a) - of(b) }))
	}
	grown := func(what string, first, most int) string {
		if most <= first {
			return ""
		}
		return fmt.Sprintf("%d %s after %d refreshes, up to %d after that", first, what, s.Samples[0].Refreshes, most)
	}
	outcomes := []Outcome{
		{"refreshes leave no mounts behind", grown("mounts", first.Mounts, most(func(s vm.Sample) int { return s.Mounts }))},
		{"refreshes leave no loop devices behind", grown("loop devices", first.Devices, most(func(s vm.Sample) int { return s.Devices }))},
		{Assertion: "refreshes leave no memory behind"},
		{Assertion: "programs of the base are there while a refresh runs"},
	}
	if lost := first.AvailableKiB - last.AvailableKiB; lost > soakMemoryKiB {
		outcomes[2].Error = fmt.Sprintf("%d refreshes took %d KiB; wanted %d at most", last.Refreshes-first.Refreshes, lost, soakMemoryKiB)
	}
	if s.Away > 0 {
		outcomes[3].Error = fmt.Sprintf("%d times of %d there was no %s", s.Away, s.Looks, someProgram)
	}
	return outcomes
}
