package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tree"
)

// Named is a tree with the name of what it is the tree of, for messages.
type Named struct {
	Name string
	Tree tree.Tree
}

// Together returns what makes the order matter in which trees are merged that can be active at the same time:
// paths that two of them have differently (content, type, mode, owner or xattrs), and marks by which overlayfs hides
// what lies below. When there is nothing, the result is the same in any order.
//
// Images of different platforms are never active together. Recipes and layers of one platform are,
// and a platform's image with every extension that can be enabled beside it.
func Together(trees []Named) []Problem {
	var problems []Problem
	first := map[string]int{} // which tree has a path first
	for i, named := range trees {
		for _, e := range named.Tree {
			for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
				if hides(name) {
					problems = append(problems, Problem{e.Path, fmt.Sprintf(
						"has the xattr %s in %s, which would hide what lies below; remove it", name, named.Name)})
				}
			}
			at, known := first[e.Path]
			if !known {
				first[e.Path] = i
				continue
			}
			if other, _ := trees[at].Tree.Find(e.Path); !other.Equal(e) {
				problems = append(problems, Problem{e.Path, fmt.Sprintf(
					"is in both %s and %s, but not alike (%v | %v); prune or move it in one of them", trees[at].Name, named.Name, other, e)})
			}
		}
	}
	return problems
}

// hides tells whether an xattr is one of overlayfs' own: opaque directories, whiteouts, redirects
// (Documentation/filesystems/overlayfs.rst). Whiteouts that are devices are in no tree.
func hides(xattr string) bool {
	return strings.HasPrefix(xattr, "trusted.overlay.") || strings.HasPrefix(xattr, "user.overlay.")
}
