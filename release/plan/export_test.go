package plan

import (
	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// LargestFiles is how many files an error names.
const LargestFiles = largestFiles

// LargestSizes returns the sizes of the files that an error names.
func LargestSizes(e *OverBudgetError) []size.Bytes {
	var sizes []size.Bytes
	for _, f := range e.Largest {
		sizes = append(sizes, f.size)
	}
	return sizes
}

// Grown returns the recipes that grew, and by how much.
func Grown(staged []oem.Staged, last *manifest.Manifest) map[string]size.Bytes {
	by := map[string]size.Bytes{}
	for _, g := range grown(staged, last) {
		by[g.name] = g.by
	}
	return by
}
