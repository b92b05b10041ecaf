package debian

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Installed are the packages of a base. The zero value has none.
type Installed struct {
	byName   map[string][]installed // more than one with several architectures
	provides map[string][]installed // by the provided name; the version is that of the provided name
}

type installed struct {
	name, version, arch string
}

// ParseStatus reads the installed packages of a dpkg status file, usually var/lib/dpkg/status (dpkg(1)).
func ParseStatus(status io.Reader) (*Installed, error) {
	have := &Installed{byName: map[string][]installed{}, provides: map[string][]installed{}}
	for reader := newStanzaReader(status); ; {
		text, err := reader.next()
		if errors.Is(err, io.EOF) {
			return have, nil
		}
		if err == nil {
			err = have.add(text)
		}
		if err != nil {
			return nil, fmt.Errorf("dpkg status, stanza that ends on line %d: %w", reader.line, err)
		}
	}
}

func (i *Installed) add(text string) error {
	fields, err := parseStanza(text)
	if err != nil {
		return err
	}
	if !isInstalled(fields["status"]) {
		return nil
	}
	one := installed{fields["package"], fields["version"], fields["architecture"]}
	if !ValidName(one.name) || one.version == "" {
		return fmt.Errorf("package %q has the version %q; wanted a name and a version", one.name, one.version)
	}
	i.byName[one.name] = append(i.byName[one.name], one)
	names, err := parseGroups(fields["provides"])
	if err != nil {
		return fmt.Errorf("package %s, field Provides: %w", one.name, err)
	}
	for _, name := range names {
		i.provides[name[0].name] = append(i.provides[name[0].name], installed{one.name, name[0].version, one.arch})
	}
	return nil
}

// isInstalled evaluates the field Status: wanted state, error flag, state. A package with pending triggers counts as installed.
func isInstalled(status string) bool {
	words := strings.Fields(status)
	return len(words) == 3 && (words[2] == "installed" || strings.HasPrefix(words[2], "triggers-"))
}

// satisfies tells whether the base satisfies a relation on a system of the architecture native.
func (i *Installed) satisfies(r relation, native string) bool {
	if i == nil {
		return false
	}
	for _, one := range i.byName[r.name] {
		if r.allowsArch(one.arch, native) && r.allows(one.version) {
			return true
		}
	}
	for _, one := range i.provides[r.name] {
		if r.allowsArch(one.arch, native) && r.allowsProvided(one.version) {
			return true
		}
	}
	return false
}

// InstalledPackage is a package of a base.
type InstalledPackage struct{ Name, Version, Arch string }

// All returns the installed packages, by name, then by architecture.
func (i *Installed) All() []InstalledPackage {
	var all []InstalledPackage
	for _, name := range slices.Sorted(maps.Keys(i.byName)) {
		for _, one := range i.byName[name] {
			all = append(all, InstalledPackage{one.name, one.version, one.arch})
		}
	}
	slices.SortStableFunc(all, func(a, b InstalledPackage) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch))
	})
	return all
}

// Version returns the installed version of a package, or "" when there is none.
func (i *Installed) Version(name string) string {
	if i == nil || len(i.byName[name]) == 0 {
		return ""
	}
	return i.byName[name][0].version
}
