// Package recipe reads recipes/NAME/recipe.yaml: how one tool is obtained, built and installed.
package recipe

import (
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// FileName is the name of the definition in a recipe's directory.
const FileName = "recipe.yaml"

// Recipe is one tool.
type Recipe struct {
	Name     strictyaml.Text    `yaml:"name,required"`
	Summary  string             `yaml:"summary,required"`
	Homepage Homepage           `yaml:"homepage,required"`
	License  string             `yaml:"license,required"` // an SPDX expression
	Arches   []arch.Arch        `yaml:"arches,required"`
	Needs    []strictyaml.Text  `yaml:"needs"` // recipes that are added with this one
	Sources  []Source           `yaml:"sources"`
	Build    Build              `yaml:"build"`    // what is built from the sources
	Files    strictyaml.Text    `yaml:"files"`    // a directory beside the definition, copied as is
	Move     map[string]Path    `yaml:"move"`     // from a path in the sources to one below /usr
	Units    Units              `yaml:"units"`    // units to start, and by which unit
	Prune    []Glob             `yaml:"prune"`    // paths to leave out
	Requires []Path             `yaml:"requires"` // files that must be in the result
	Replaces []Path             `yaml:"replaces"` // files of the base that the image replaces
	Keeps    []Glob             `yaml:"keeps"`    // files of the base that win over the image's
	Unless   []Path             `yaml:"unless"`   // on a base that has all of these, the recipe adds nothing
	Modules  []strictyaml.Text  `yaml:"modules"`  // kernel modules of the base, loaded from images for an initramfs
	Special  map[string]Special `yaml:"special"`  // setuid bits, owners and capabilities, by path
	Works    []Command          `yaml:"works"`    // commands that must work in the merged system
	MaxSize  Limit              `yaml:"max_size,required"`

	// File is the recipe's file, for messages.
	File string `yaml:"-"`
}

// Source is one input. Exactly one of its kinds is set.
type Source struct {
	Line   strictyaml.Line
	For    Family  `yaml:"for"` // only for bases of this family; for all if empty
	Deb    *Deb    `yaml:"deb"`
	Go     *Go     `yaml:"go"`
	URL    *URL    `yaml:"url"`
	GitHub *GitHub `yaml:"github"`
	Binpkg *Binpkg `yaml:"binpkg"`
	Dir    *Dir    `yaml:"dir"`
}

// Build is what is built from the sources.
type Build struct {
	Go     []GoProgram `yaml:"go"`
	Script *Script     `yaml:"script"` // runs last; sources and Go programs are its inputs
}

// GoProgram is a main package of the recipe's Go module.
type GoProgram struct {
	Line    strictyaml.Line
	Package string `yaml:"package,required"` // relative to the module, such as ./cmd/agent
	To      Path   `yaml:"to,required"`
}

// Units says which units start the recipe's own units.
type Units struct {
	Upholds map[string][]string `yaml:"upholds"` // unit of the base → units of the recipe
}

// Supports tells whether the recipe can be built for an architecture.
func (r *Recipe) Supports(a arch.Arch) bool { return slices.Contains(r.Arches, a) }

// GoModule returns the recipe's Go source, or nil.
func (r *Recipe) GoModule() *Go {
	for _, source := range r.Sources {
		if source.Go != nil {
			return source.Go
		}
	}
	return nil
}

// HasPackages tells whether the recipe has Debian packages.
func (r *Recipe) HasPackages() bool {
	return slices.ContainsFunc(r.Sources, func(s Source) bool { return s.Deb != nil })
}

// Beside returns the directories beside the definition that the recipe uses.
func (r *Recipe) Beside() []string {
	var dirs []string
	for _, source := range r.Sources {
		if source.Dir != nil {
			dirs = append(dirs, source.Dir.Path.Value)
		}
	}
	if r.Build.Script != nil {
		dirs = append(dirs, r.Build.Script.Dir())
	}
	if r.Files.Value != "" {
		dirs = append(dirs, r.Files.Value)
	}
	return dirs
}
