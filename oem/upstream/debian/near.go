package debian

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/near"
)

// nearest returns up to five similar names, the most similar first: those a few typos away, and those that contain the name
// or are contained in it.
func nearest(name string, names iter.Seq[string]) []string {
	type match struct {
		name     string
		distance int
	}
	var matches []match
	for other := range names {
		distance := near.Distance(name, other)
		contains := len(name) > 3 && strings.Contains(other, name) || len(other) > 3 && strings.Contains(name, other)
		if distance <= 1+len(name)/5 || contains {
			matches = append(matches, match{other, distance})
		}
	}
	slices.SortFunc(matches, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var found []string
	for _, m := range matches[:min(5, len(matches))] {
		found = append(found, m.name)
	}
	return found
}
