// Package recipe reads how one tool is obtained, built and laid out: recipes/NAME/recipe.yaml.
package recipe

import (
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// FileName is the definition inside a recipe's directory.
const FileName = "recipe.yaml"

// Recipe is one tool.
type Recipe struct {
	Name     strictyaml.Text    `yaml:"name,required"`
	Summary  string             `yaml:"summary,required"`
	Homepage string             `yaml:"homepage,required"`
	License  string             `yaml:"license,required"` // an SPDX expression
	Arches   []arch.Arch        `yaml:"arches,required"`
	Needs    []strictyaml.Text  `yaml:"needs"` // recipes that come along with this one
	Sources  []Source           `yaml:"sources"`
	Build    Build              `yaml:"build"`    // what is made from the sources
	Files    strictyaml.Text    `yaml:"files"`    // a directory beside the definition, copied as is
	Move     map[string]Path    `yaml:"move"`     // from a path in the sources to one below /usr
	Units    Units              `yaml:"units"`    // what is started, and by what
	Prune    []Glob             `yaml:"prune"`    // what is left out
	Requires []Path             `yaml:"requires"` // what must be in the result
	Replaces []Path             `yaml:"replaces"` // files of the base that may differ: the image's are taken
	Keeps    []Glob             `yaml:"keeps"`    // files of the base that may differ: the base's are taken
	Unless   []Path             `yaml:"unless"`   // a base that has all of these has the tool: the recipe then brings nothing
	Modules  []strictyaml.Text  `yaml:"modules"`  // of the base's kernel, which an initramfs loads from images with this recipe
	Special  map[string]Special `yaml:"special"`  // setuid bits, owners and capabilities, by path
	MaxSize  Limit              `yaml:"max_size,required"`

	// File is where the recipe was read, for messages.
	File string `yaml:"-"`
}

// Source is one input. Exactly one of its kinds is set.
type Source struct {
	Line   strictyaml.Line
	Deb    *Deb    `yaml:"deb"`
	Go     *Go     `yaml:"go"`
	URL    *URL    `yaml:"url"`
	GitHub *GitHub `yaml:"github"`
	Binpkg *Binpkg `yaml:"binpkg"`
	Dir    *Dir    `yaml:"dir"`
}

// Build is what is made from sources.
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

// Units says which units start the recipe's own ones.
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

// HasPackages tells whether some of the recipe comes as packages of Debian.
func (r *Recipe) HasPackages() bool {
	return slices.ContainsFunc(r.Sources, func(s Source) bool { return s.Deb != nil })
}

// Beside returns the directories beside the definition that the recipe is made from.
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
