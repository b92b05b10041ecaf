package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/near"
)

// With returns the named recipes and all that they need, without duplicates: dependencies first,
// otherwise in the order given. Unknown names are left out.
func (s Set) With(names ...string) []*Recipe {
	var found []*Recipe
	seen := map[string]bool{}
	var add func(string)
	add = func(name string) {
		r := s[name]
		if r == nil || seen[name] {
			return
		}
		seen[name] = true
		for _, need := range r.Needs {
			add(need.Value)
		}
		found = append(found, r)
	}
	for _, name := range names {
		add(name)
	}
	return found
}

// Choose returns the named recipes, or all in the order of names if names are empty or just "all".
func (s Set) Choose(names []string) ([]*Recipe, error) {
	if len(names) == 0 || len(names) == 1 && names[0] == "all" {
		names = slices.Sorted(maps.Keys(s))
	}
	var chosen []*Recipe
	for _, name := range names {
		if s[name] == nil {
			return nil, fmt.Errorf("no recipe %q; %s", name, near.Wanted(name, s.names()))
		}
		chosen = append(chosen, s[name])
	}
	return chosen, nil
}

// checkNeeds finds needs of unknown recipes, of recipes that lack an architecture, and cycles.
func (s Set) checkNeeds() strictyaml.Mistakes {
	var mistakes strictyaml.Mistakes
	for _, name := range slices.Sorted(maps.Keys(s)) {
		r := s[name]
		add := func(line strictyaml.Line, format string, args ...any) {
			mistakes = append(mistakes, strictyaml.Mistake{File: r.File, Line: line, Text: fmt.Sprintf(format, args...)})
		}
		for _, need := range r.Needs {
			needed := s[need.Value]
			if needed == nil {
				add(need.Line, "%s needs %q, which is not a recipe; %s", name, need, near.Wanted(need.Value, s.names()))
				continue
			}
			for _, a := range r.Arches {
				if !needed.Supports(a) && len(needed.Arches) > 0 { // else its own mistake says it
					add(need.Line, "%s is for %s, but needs %s, which is not (%s)", name, a, need, needed.File)
				}
			}
			if cycle := s.cycle([]string{name}, need.Value); cycle != nil {
				add(need.Line, "needs: cycle: %s; remove one of them", strings.Join(cycle, " → "))
			}
		}
	}
	return mistakes
}

// cycle follows needs from next and returns the path back to the first recipe of trail, if there is one.
func (s Set) cycle(trail []string, next string) []string {
	if next == trail[0] {
		return append(trail, next)
	}
	if slices.Contains(trail, next) || s[next] == nil {
		return nil
	}
	trail = append(slices.Clone(trail), next)
	for _, need := range s[next].Needs {
		if found := s.cycle(trail, need.Value); found != nil {
			return found
		}
	}
	return nil
}

func (s Set) names() []string { return slices.Sorted(maps.Keys(s)) }
