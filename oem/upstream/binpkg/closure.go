package binpkg

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// sort orders each package's versions and refuses duplicates.
func (i *Index) sort() error {
	for name, all := range i.byName {
		slices.SortFunc(all, func(a, b *Package) int { return CompareVersions(b.Version, a.Version) })
		for k := range all[:len(all)-1] {
			if CompareVersions(all[k].Version, all[k+1].Version) == 0 { // 1.0 and 1.0-r0 are one
				return fmt.Errorf("package %s-%s is listed twice", name, all[k].Version)
			}
		}
	}
	return nil
}

// Installed are the packages of a base, by category and name.
type Installed map[string][]*Package

// ReadInstalled reads a list of packages such as flatcar_production_image_packages.txt:
// one CATEGORY/NAME-VERSION per line, with or without ::REPOSITORY. It has no slots, so packages match any slot.
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

// Ask are the wanted packages, and dependencies to leave out.
type Ask struct {
	Want    []string // categories and names
	Have    Installed
	Without []string // categories and names to leave out, with everything that only they need
}

// Closure returns the wanted packages and their dependencies (RDEPEND and PDEPEND, transitively) that the base lacks,
// by category and name: the highest version that fits, and the first available alternative.
// Unneeded entries of Without are an error.
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
	without map[string]bool // true once needed
	chosen  map[*Package]bool
	failed  map[*Package]error // unsatisfiable packages, so that each is tried once
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

// satisfyAny accepts an installed or chosen alternative, else chooses the first satisfiable one; failed attempts are undone.
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
		return fmt.Errorf("%v: not in the index (available versions: %s)", a, strings.Join(versions, ", "))
	}
	p := candidates[at]
	if s.failed[p] != nil {
		return s.failed[p]
	}
	s.chosen[p] = true // before its dependencies, which may be cyclic
	if err := s.satisfyAll(p.needs); err != nil {
		s.failed[p] = fmt.Errorf("%s -> %w", a.name, err)
	}
	return s.failed[p]
}
