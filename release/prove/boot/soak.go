package boot

import (
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// soakMemoryKiB is how much less memory may be available at the end of a soak than at its beginning: in the median of the last quarter
// of its samples than in that of the first quarter, and than in the first sample. What runs while one sample is taken may take
// several MiB; what is left behind is missing from then on.
const soakMemoryKiB = 3 << 10

// soakOutcomes are what is asserted of a machine that has refreshed again and again. The first sample is where it must stay.
func soakOutcomes(s *vm.Soak) []proof.Outcome {
	if s == nil || len(s.Samples) < 2 || s.Looks == 0 {
		return []proof.Outcome{{Assertion: "refreshes were counted", Error: fmt.Sprintf("there are %+v; wanted two samples at least", s)}}
	}
	first, quarter := s.Samples[0], max(1, len(s.Samples)/4)
	most := func(of func(vm.Sample) int) int {
		return of(slices.MaxFunc(s.Samples, func(a, b vm.Sample) int { return of(a) - of(b) }))
	}
	grown := func(what string, first, most int) string {
		if most <= first {
			return ""
		}
		return fmt.Sprintf("%d %s after %d refreshes, up to %d after that", first, what, s.Samples[0].Refreshes, most)
	}
	outcomes := []proof.Outcome{
		{Assertion: "refreshes leave no mounts behind", Error: grown("mounts", first.Mounts, most(func(s vm.Sample) int { return s.Mounts }))},
		{Assertion: "refreshes leave no loop devices behind", Error: grown("loop devices", first.Devices, most(func(s vm.Sample) int { return s.Devices }))},
		{Assertion: "refreshes leave no memory behind"},
		{Assertion: "programs of the base are there while a refresh runs"},
	}
	early, late := s.Samples[:quarter], s.Samples[len(s.Samples)-quarter:]
	if lost := max(first.AvailableKiB, medianAvailable(early)) - medianAvailable(late); lost > soakMemoryKiB {
		outcomes[2].Error = fmt.Sprintf("%d KiB less were available from refresh %d on than up to %d; wanted %d at most", lost, late[0].Refreshes, early[quarter-1].Refreshes, soakMemoryKiB)
	}
	if s.Away > 0 {
		outcomes[3].Error = fmt.Sprintf("%d times of %d there was no %s", s.Away, s.Looks, SomeProgram)
	}
	return outcomes
}

// medianAvailable is the median of the memory that was available, in KiB; of an even number of samples the greater one of the middle.
func medianAvailable(samples []vm.Sample) int {
	var available []int
	for _, s := range samples {
		available = append(available, s.AvailableKiB)
	}
	slices.Sort(available)
	return available[len(available)/2]
}
