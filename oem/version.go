package oem

import (
	"cmp"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
)

// Version is that of the platform's first tool: of the first recipe with one that it names, or of what that needs.
func (s *Staged) Version() string {
	of := func(name string) string {
		for _, made := range s.Recipes {
			if made.Recipe.Name.Value == name {
				return made.version()
			}
		}
		return ""
	}
	for _, r := range s.Platform.Main() {
		if v := of(r.Name.Value); v != "" {
			return v
		}
		for _, needed := range r.Needs {
			if v := of(needed.Value); v != "" {
				return v
			}
		}
	}
	return ""
}

// version is that of the recipe's first package, else of its first input with a version.
func (m *Made) version() string {
	first, version := firstPackage(m.Recipe), ""
	for _, i := range m.Inputs {
		if i.Name == first {
			return i.Version
		}
		version = cmp.Or(version, i.Version)
	}
	return version
}

func firstPackage(r *recipe.Recipe) string {
	for _, s := range r.Sources {
		switch {
		case s.Deb != nil && len(s.Deb.Packages) > 0:
			return s.Deb.Packages[0].Value
		case s.Binpkg != nil && len(s.Binpkg.Packages) > 0:
			return s.Binpkg.Packages[0].Value
		}
	}
	return ""
}
