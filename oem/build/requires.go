package build

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// checkRequires reports required files that are missing.
func (b *Builder) checkRequires(t tree.Tree, r *recipe.Recipe) error {
	var missing []error
	for _, required := range r.Requires {
		if _, there := t.Find(string(required)); !there {
			missing = append(missing, fmt.Errorf("%s: requires %s, which is not in the result; %s", r.File, required, b.remedy(string(required), r)))
		}
	}
	return errors.Join(missing...)
}

// remedy says what to do about a required file that is missing.
func (b *Builder) remedy(name string, r *recipe.Recipe) string {
	if prunes(r, name) {
		return "prune: leaves it out; correct one of the two"
	}
	if !b.Base.Has(name) {
		return "add a source, file or build that provides it"
	}
	from := ""
	if p := b.packageOf(name, r); p != "" {
		from = " in package " + p
	}
	return fmt.Sprintf("the base has it%s; remove the line, or add unless: [%s] for bases that have the tool", from, name)
}

// packageOf returns the base's package, with its version, that is called like a file or that the recipe names; empty if there is none.
func (b *Builder) packageOf(file string, r *recipe.Recipe) string {
	names := []string{path.Base(file)}
	for _, one := range r.Sources {
		if one.Deb != nil {
			for _, p := range one.Deb.Packages {
				names = append(names, p.Value)
			}
		}
		if one.Binpkg != nil {
			for _, p := range one.Binpkg.Packages {
				names = append(names, p.Value)
			}
		}
	}
	if b.Base.IsDebian() {
		installed, err := debian.ParseStatus(bytes.NewReader(b.Base.Status))
		if err != nil {
			return "" // it is read, and its mistakes are reported, where packages are looked up
		}
		for _, name := range names {
			if version := installed.Version(name); version != "" {
				return name + " " + version
			}
		}
	}
	for line := range strings.Lines(string(b.Base.Gentoo)) {
		line = strings.TrimSpace(line)
		if slices.ContainsFunc(names, func(name string) bool { return isGentoo(line, name) }) {
			return line
		}
	}
	return ""
}

// isGentoo tells whether CATEGORY/NAME-VERSION is a package of a name, with its category or without.
func isGentoo(atom, name string) bool {
	if !strings.Contains(name, "/") {
		atom = path.Base(atom)
	}
	version, is := strings.CutPrefix(atom, name+"-")
	return is && version != "" && version[0] >= '0' && version[0] <= '9'
}
