package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tree"
)

// Named is a tree with a name for messages.
type Named struct {
	Name string
	Tree tree.Tree
}

// Together finds conflicts between trees that can be active at the same time: paths that differ between two of them
// (content, type, mode, owner or xattrs), and overlayfs xattrs that hide lower layers. Without conflicts
// the merged result does not depend on the order.
//
// Images of different platforms are never active together. Recipes and layers of one platform are,
// and a platform's image with every extension that can be enabled beside it.
func Together(trees []Named) []Problem {
	var problems []Problem
	first := map[string]int{} // the first tree with a path
	for i, named := range trees {
		for _, e := range named.Tree {
			for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
				if hides(name) {
					problems = append(problems, Problem{Path: e.Path, Text: fmt.Sprintf(
						"has the xattr %s in %s, which would hide lower layers; remove it", name, named.Name)})
				}
			}
			at, known := first[e.Path]
			if !known {
				first[e.Path] = i
				continue
			}
			if other, _ := trees[at].Tree.Find(e.Path); !other.Equal(e) {
				problems = append(problems, Problem{Path: e.Path, Text: fmt.Sprintf(
					"differs between %s and %s (%v | %v); prune or move it in one of them", trees[at].Name, named.Name, other, e)})
			}
		}
	}
	return problems
}

// hides tells whether overlayfs interprets an xattr: opaque directories, whiteouts, redirects
// (Documentation/filesystems/overlayfs.rst). Trees cannot have whiteouts that are devices.
func hides(xattr string) bool {
	return strings.HasPrefix(xattr, "trusted.overlay.") || strings.HasPrefix(xattr, "user.overlay.")
}
