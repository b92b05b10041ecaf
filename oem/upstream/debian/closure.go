package debian

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Ask are the wanted packages, and dependencies to leave out.
type Ask struct {
	Want    []string
	Have    *Installed // packages of the base; nil for none
	Without []string   // packages to leave out, with everything that only they need
}

// Closure is the answer to an Ask.
type Closure struct {
	Packages []Package // by name: the wanted packages and their dependencies that the base lacks
	Present  []string  // wanted packages that the base has
	Unused   []string  // entries of Without that nothing needed
}

// Closure finds the packages that the wanted ones need (Pre-Depends and Depends, transitively, no Recommends)
// and that the base lacks.
//
// Only the highest version of each package is considered, and packages of the base are never replaced.
// A dependency is satisfied by the base, else by a package already chosen, else by its first satisfiable alternative;
// a virtual package by the most important provider (field Priority), then the first by name.
// An alternative in Without ends the search: the dependency counts as satisfied.
// Conflicts are ignored, and essential packages are not added: the base is expected to have them.
// The result depends on the indexes and the Ask only.
func (p *Packages) Closure(ask Ask) (Closure, error) {
	s := &solver{from: p, have: ask.Have, without: map[string]bool{}, chosen: map[string]*candidate{}, failed: map[string]error{}}
	for _, name := range ask.Without {
		s.without[name] = false
	}
	want := slices.Compact(slices.Sorted(slices.Values(ask.Want)))
	present, err := s.choose(want)
	if err != nil {
		return Closure{}, err
	}
	result := Closure{Present: present, Unused: s.unused()}
	for _, name := range slices.Sorted(maps.Keys(s.chosen)) {
		one, err := s.chosen[name].published()
		if err != nil {
			return Closure{}, err
		}
		result.Packages = append(result.Packages, one)
	}
	return result, nil
}

// solver chooses packages.
type solver struct {
	from    *Packages
	have    *Installed
	without map[string]bool // true once needed
	chosen  map[string]*candidate
	order   []string         // of choices, to undo them
	failed  map[string]error // packages that cannot be satisfied
}

// choose chooses the wanted packages first, then their dependencies, so that wanted packages win among alternatives.
// It returns the wanted packages that the base has. The error names all unavailable ones.
func (s *solver) choose(want []string) (present []string, err error) {
	var failures []error
	var taken []*candidate
	for _, name := range want {
		c := s.from.byName[name]
		_, cut := s.without[name]
		switch {
		case cut:
			failures = append(failures, fmt.Errorf("package %s is both in packages and in without; remove one", name))
		case s.have.satisfies(relation{name: name}, s.from.arch):
			present = append(present, name)
		case c == nil:
			failures = append(failures, s.from.unknown(name))
		default:
			taken = append(taken, c)
			s.take(c)
		}
	}
	for _, c := range taken {
		if err := s.satisfyAll(c); err != nil {
			failures = append(failures, err)
		}
	}
	return present, errors.Join(failures...)
}

func (s *solver) take(c *candidate) {
	s.chosen[c.name] = c
	s.order = append(s.order, c.name)
}

// add chooses a package and its dependencies, or on failure nothing.
func (s *solver) add(c *candidate) error {
	if s.chosen[c.name] != nil {
		return nil
	}
	if err := s.failed[c.name]; err != nil {
		return err
	}
	before := len(s.order)
	s.take(c)
	err := s.satisfyAll(c)
	if err != nil {
		for _, name := range s.order[before:] {
			delete(s.chosen, name)
		}
		s.order = s.order[:before]
		s.failed[c.name] = err
	}
	return err
}

// satisfyAll chooses a package's dependencies. Its error begins with the package's name, so that nested errors show the chain.
func (s *solver) satisfyAll(c *candidate) error {
	groups, err := c.dependencies()
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := s.satisfy(g); err != nil {
			return fmt.Errorf("%s -> %w", c.name, err)
		}
	}
	return nil
}

// satisfy chooses a package for a dependency unless it is satisfied.
func (s *solver) satisfy(g group) error {
	if slices.ContainsFunc(g, s.isSatisfied) {
		return nil
	}
	var reasons []error
	for _, r := range g {
		done, err := s.tryAlternative(r)
		if done {
			return nil
		}
		reasons = append(reasons, err)
	}
	if len(reasons) == 1 {
		return reasons[0]
	}
	return fmt.Errorf("%v: no alternative is available: %w", g, errors.Join(reasons...))
}

// isSatisfied tells whether the base or a chosen package satisfies a relation.
func (s *solver) isSatisfied(r relation) bool {
	return s.have.satisfies(r, s.from.arch) ||
		slices.ContainsFunc(s.from.candidates(r), func(c *candidate) bool { return s.chosen[c.name] != nil })
}

// tryAlternative satisfies one alternative, or returns why it cannot.
func (s *solver) tryAlternative(r relation) (done bool, err error) {
	if s.isCut(r.name) {
		return true, nil
	}
	var reasons []error
	for _, c := range s.from.candidates(r) {
		if s.isCut(c.name) {
			return true, nil
		}
		err := s.blocked(r, c.name)
		if err == nil {
			err = s.add(c)
		}
		if err == nil {
			return true, nil
		}
		reasons = append(reasons, err)
	}
	if len(reasons) > 0 {
		return false, errors.Join(reasons...)
	}
	return false, s.lacking(r)
}

// isCut tells whether a package is in Without, and marks it as needed.
func (s *solver) isCut(name string) bool {
	if _, cut := s.without[name]; !cut {
		return false
	}
	s.without[name] = true
	return true
}

func (s *solver) unused() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.without)) {
		if !s.without[name] {
			names = append(names, name)
		}
	}
	return names
}

// blocked is the error for a package that the base has in a version that does not satisfy the relation.
func (s *solver) blocked(r relation, name string) error {
	version := s.have.Version(name)
	if version == "" {
		return nil
	}
	offer := "has none"
	if c := s.from.byName[name]; c != nil {
		offer = "has " + c.version
	}
	return fmt.Errorf("%v: the base has %s %s, which cannot be replaced (%s %s)", r, name, version, s.from.suite, offer)
}

// lacking is the error for a relation that no package satisfies.
func (s *solver) lacking(r relation) error {
	if err := s.blocked(r, r.name); err != nil {
		return err
	}
	if c := s.from.byName[r.name]; c != nil {
		return fmt.Errorf("%v: %s has %s %s (%s)", r, c.pocket, c.name, c.version, c.field("Architecture"))
	}
	if providers := s.from.provides[r.name]; len(providers) > 0 {
		return fmt.Errorf("%v: %s provides it in version %q", r, providers[0].by.name, providers[0].version)
	}
	return s.from.unknown(r.name)
}

// candidates returns the packages that satisfy a relation, best first.
func (p *Packages) candidates(r relation) []*candidate {
	var all []*candidate
	if c := p.byName[r.name]; c != nil && r.allowsArch(c.field("Architecture"), p.arch) && r.allows(c.version) {
		all = append(all, c)
	}
	for _, provider := range p.provides[r.name] {
		if r.allowsProvided(provider.version) && r.allowsArch(provider.by.field("Architecture"), p.arch) {
			all = append(all, provider.by)
		}
	}
	return all
}

// unknown is the error for a package that the suite lacks, with similar names.
func (p *Packages) unknown(name string) error {
	near := nearest(name, maps.Keys(p.byName))
	if len(near) == 0 {
		return fmt.Errorf("%s has no package %s", p.suite, name)
	}
	return fmt.Errorf("%s has no package %s; similar: %s", p.suite, name, strings.Join(near, ", "))
}
