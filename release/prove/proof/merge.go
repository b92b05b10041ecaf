package proof

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Merge makes one proof of parts that were made elsewhere, each of some platforms. Refused are parts about other files than those of
// the release, platforms that are in two parts, and parts without one of the platforms.
func Merge(r Release, platforms []string, parts []*Proof) (*Proof, error) {
	whole, err := Begin(r, "")
	if err != nil {
		return nil, err
	}
	accels := map[string]bool{}
	var wrong []error
	for _, part := range parts {
		if part.Version != whole.Version || part.Arch != whole.Arch || part.Base != whole.Base || !maps.Equal(part.Booted, whole.Booted) {
			wrong = append(wrong, fmt.Errorf("one is about other files, of %s for %s; wanted those of %s for %s", part.Version, part.Arch, whole.Version, whole.Arch))
			continue
		}
		accels[part.Accel] = true
		whole.Machines = append(whole.Machines, part.Machines...)
	}
	whole.Accel = strings.Join(slices.Sorted(maps.Keys(accels)), ", ")
	slices.SortFunc(whole.Machines, func(a, b Machine) int { return strings.Compare(a.Platform, b.Platform) })
	times := map[string]int{}
	for _, m := range whole.Machines {
		times[m.Platform]++
	}
	for _, id := range platforms {
		if n := times[id]; n != 1 {
			wrong = append(wrong, fmt.Errorf("%s is in %d of them; wanted it in one", id, n))
		}
		delete(times, id)
	}
	for _, id := range slices.Sorted(maps.Keys(times)) {
		wrong = append(wrong, fmt.Errorf("%s is no platform that the release embeds", id))
	}
	return whole, errors.Join(wrong...)
}
