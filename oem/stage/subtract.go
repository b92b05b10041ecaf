package stage

import (
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// subtract drops what the base has identically. A path that differs from the base's is a problem, unless the recipe
// has it, or a directory above it, in replaces: or keeps:.
//
// Directories must have the base's mode and owner, since the image's would win. A directory that is kept gets these; what the base
// does not have in it stays in the image.
func subtract(merged tree.Tree, parts []Part, base *target.Base, problems *Problems) Staged {
	s := subtraction{base: base, problems: problems, hidden: map[string]bool{}}
	image, drop := slices.Clone(merged), map[string]bool{}
	var dropped tree.Tree
	for i, e := range merged { // directories come before what is in them
		var stays bool
		if image[i], stays = s.own(e, owner(e.Path, parts)); !stays {
			drop[e.Path], dropped = true, append(dropped, e)
		}
	}
	return Staged{Tree: image.Filter(func(e tree.Entry) bool { return !drop[e.Path] }), Dropped: dropped}
}

// subtraction is the state of subtract.
type subtraction struct {
	base     *target.Base
	problems *Problems
	hidden   map[string]bool // directories of the image where a file of the base is kept
}

// own returns what of an entry goes into the image, and whether anything does.
func (s *subtraction) own(e tree.Entry, r *recipe.Recipe) (tree.Entry, bool) {
	if s.hidden[path.Dir(e.Path)] {
		s.hidden[e.Path] = true
		return e, false
	}
	below, there := s.base.Usr.Find(e.Path)
	switch {
	case !there || sameDirectory(e, below):
		return e, true
	case e.Type != tree.Dir && e.Equal(below):
		return e, false
	case keeps(r, e.Path) && e.Type == tree.Dir && below.Type == tree.Dir:
		return below, true
	case keeps(r, e.Path):
		s.hidden[e.Path] = e.Type == tree.Dir
		return e, false
	case !replaces(r, e.Path, s.base):
		s.problems.add("%s has %s, which differs from the base's (%v | base %v); prune it, or add replaces: or keeps: [%s] to %s",
			r.Name, e.Path, e, below, e.Path, r.File)
	}
	return e, true
}

// sameDirectory tells whether two entries are directories that are the same to those who use them.
func sameDirectory(a, b tree.Entry) bool {
	return a.Type == tree.Dir && b.Type == tree.Dir && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID
}

// keeps tells whether a recipe keeps the base's file at a path.
func keeps(r *recipe.Recipe, name string) bool {
	for ; name != "/"; name = path.Dir(name) {
		if slices.ContainsFunc(r.Keeps, func(g recipe.Glob) bool { return g.Match(name) }) {
			return true
		}
	}
	return false
}

// replaces tells whether a recipe replaces the base's file at a path.
func replaces(r *recipe.Recipe, name string, base *target.Base) bool {
	return slices.ContainsFunc(r.Replaces, func(p recipe.Path) bool {
		place := base.Place(string(p))
		return name == place || strings.HasPrefix(name, place+"/")
	})
}
