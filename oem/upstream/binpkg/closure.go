package binpkg

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// sort orders each name's versions and refuses one that is there twice.
func (i *Index) sort() error {
	for name, all := range i.byName {
		slices.SortFunc(all, func(a, b *Package) int { return CompareVersions(b.Version, a.Version) })
		for k := range all[:len(all)-1] {
			if all[k].Version == all[k+1].Version {
				return fmt.Errorf("package %s-%s is there twice", name, all[k].Version)
			}
		}
	}
	return nil
}

// Installed is what a base has, by category and name.
type Installed map[string][]*Package

// ReadInstalled reads a list of packages such as flatcar_production_image_packages.txt:
// CATEGORY/NAME-VERSION a line, with or without ::REPOSITORY. Slots are not in it, so all of a package's count.
func ReadInstalled(list []byte) (Installed, error) {
	have := Installed{}
	for line := range strings.Lines(string(list)) {
		cpv, _, _ := strings.Cut(strings.TrimSpace(line), "::")
		if cpv == "" {
			continue
		}
		category, name, version, err := splitCPV(cpv)
		if err != nil {
			return nil, fmt.Errorf("packages of the base: %w", err)
		}
		p := &Package{Category: category, Name: name, Version: version}
		have[p.CPN()] = append(have[p.CPN()], p)
	}
	return have, nil
}

func (h Installed) satisfies(a *atom) bool {
	anySlot := *a
	anySlot.slot = ""
	return slices.ContainsFunc(h[a.name], anySlot.allows)
}

// Ask says which packages are wanted, and what need not be fetched of what they depend on.
type Ask struct {
	Want    []string // categories and names
	Have    Installed
	Without []string // categories and names that are cut out, and with them all that only they need
}

// Closure returns the packages that the wanted ones need (RDEPEND and PDEPEND, transitively) and that the base lacks,
// by category and name. Of each the highest version that fits counts; of alternatives the first that can be had.
// Entries of Without that nothing needs are an error.
func (i *Index) Closure(ask Ask) ([]*Package, error) {
	s := &solver{from: i, have: ask.Have, without: map[string]bool{}, chosen: map[*Package]bool{}, failed: map[*Package]error{}}
	for _, name := range ask.Without {
		s.without[name] = false
	}
	var failures []error
	for _, name := range ask.Want {
		if err := s.satisfy(&atom{name: name, text: name}); err != nil {
			failures = append(failures, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.without)) {
		if !s.without[name] {
			failures = append(failures, fmt.Errorf("without: lists %s, which nothing needs; remove it", name))
		}
	}
	chosen := slices.SortedFunc(maps.Keys(s.chosen), func(a, b *Package) int {
		if order := strings.Compare(a.CPN(), b.CPN()); order != 0 {
			return order
		}
		return CompareVersions(a.Version, b.Version)
	})
	return chosen, errors.Join(failures...)
}

type solver struct {
	from    *Index
	have    Installed
	without map[string]bool // the value tells whether it was needed
	chosen  map[*Package]bool
	failed  map[*Package]error // what cannot be had, so that it is tried once
}

func (s *solver) satisfy(need any) error {
	switch need := need.(type) {
	case anyOf:
		return s.satisfyAny(need)
	case allOf:
		return s.satisfyAll(need)
	case *atom:
		return s.satisfyAtom(need)
	}
	panic("binpkg: dependencies are atoms and groups of them")
}

func (s *solver) satisfyAll(needs []any) error {
	for _, need := range needs {
		if err := s.satisfy(need); err != nil {
			return err
		}
	}
	return nil
}

// satisfyAny takes what is there already, or else the first alternative that can be had; one that cannot leaves nothing behind.
func (s *solver) satisfyAny(alternatives []any) error {
	if len(alternatives) == 0 || slices.ContainsFunc(alternatives, s.isThere) {
		return nil
	}
	var reasons []error
	for _, alternative := range alternatives {
		before := maps.Clone(s.chosen)
		err := s.satisfy(alternative)
		if err == nil {
			return nil
		}
		s.chosen = before
		reasons = append(reasons, err)
	}
	return errors.Join(reasons...)
}

func (s *solver) isThere(need any) bool {
	a, isAtom := need.(*atom)
	if !isAtom {
		return false
	}
	return s.have.satisfies(a) || slices.ContainsFunc(s.from.byName[a.name], func(p *Package) bool { return s.chosen[p] && a.allows(p) })
}

func (s *solver) satisfyAtom(a *atom) error {
	if _, cut := s.without[a.name]; cut {
		s.without[a.name] = true
		return nil
	}
	if s.isThere(a) {
		return nil
	}
	candidates := s.from.byName[a.name]
	at := slices.IndexFunc(candidates, a.allows)
	if at < 0 {
		var versions []string
		for _, p := range candidates {
			versions = append(versions, p.Version)
		}
		return fmt.Errorf("%v: the index has no such package (versions of it: %s)", a, strings.Join(versions, ", "))
	}
	p := candidates[at]
	if s.failed[p] != nil {
		return s.failed[p]
	}
	s.chosen[p] = true // before what it needs, which may need it
	if err := s.satisfyAll(p.needs); err != nil {
		s.failed[p] = fmt.Errorf("%s -> %w", a.name, err)
	}
	return s.failed[p]
}
