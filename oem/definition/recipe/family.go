package recipe

import (
	"fmt"
	"slices"
	"strings"
)

// Family is a kind of base: whose packages it is made of.
type Family string

// The families.
const (
	Debian  Family = "debian"
	Flatcar Family = "flatcar"
)

var families = []Family{Debian, Flatcar}

// UnmarshalText refuses other families.
func (f *Family) UnmarshalText(text []byte) error {
	if !slices.Contains(families, Family(text)) {
		return fmt.Errorf("%q; wanted %s", text, familyNames())
	}
	*f = Family(text)
	return nil
}

// Base is what a recipe has to know of a base.
type Base struct {
	Family  Family
	Release string // of Flatcar, such as 4593.1.0; empty if it is not known
}

// For returns the recipe with the sources for a base, and the base's release where they name it.
func (r *Recipe) For(base Base) *Recipe {
	narrowed := *r
	narrowed.Sources = nil
	for _, s := range r.Sources {
		if on, is := s.On(base); is {
			narrowed.Sources = append(narrowed.Sources, on)
		}
	}
	return &narrowed
}

// On returns the source for a base, if it is for that.
func (s *Source) On(base Base) (Source, bool) {
	if s.For != "" && s.For != base.Family {
		return Source{}, false
	}
	on := *s
	if s.IsOpen() && base.Release != "" {
		packages := *s.Binpkg
		packages.Release = base.Release
		on.Binpkg = &packages
	}
	return on, true
}

// Nothing tells whether the recipe has sources, but none for the base.
func (r *Recipe) Nothing(base Base) bool { return len(r.Sources) > 0 && len(r.For(base).Sources) == 0 }

// IsOpen tells whether the source is of the release of a base that is not known.
func (s *Source) IsOpen() bool { return s.Binpkg != nil && s.Binpkg.Release == ofBase }

// families checks that sources are for bases that have them.
func (c *checker) families() {
	for _, s := range c.recipe.Sources {
		if s.IsOpen() && s.For != Flatcar {
			c.add(s.Binpkg.Line, "release: base without for: flatcar; other bases have no release of Flatcar's")
		}
	}
}

func familyNames() string {
	names := make([]string, len(families))
	for i, f := range families {
		names[i] = string(f)
	}
	return strings.Join(names, " or ")
}
