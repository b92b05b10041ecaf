// Package platform reads which recipes make up one cloud's OEM tools: platforms/ID.yaml.
package platform

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/arch"
	"github.com/flatcar/oem-sysext/oem/recipe"
	"github.com/flatcar/oem-sysext/oem/strictyaml"
)

// Platform is one cloud.
type Platform struct {
	ID          strictyaml.Text   `yaml:"id,required"`
	Name        string            `yaml:"name,required"`
	Homepage    string            `yaml:"homepage"`
	KernelID    string            `yaml:"kernel_id,required"` // flatcar.oem.id= on the kernel command line
	Arches      []arch.Arch       `yaml:"arches,required"`
	RecipeNames []strictyaml.Text `yaml:"recipes,required"`
	ActiveUnits []strictyaml.Text `yaml:"active_units"` // units that must be in the image

	// File is where the platform was read, for messages.
	File string `yaml:"-"`
	// Recipes are the named recipes and what they need, in the order they are laid out.
	Recipes []*recipe.Recipe `yaml:"-"`
}

// Image returns the name of the platform's image without suffix, which extension-release repeats.
func (p *Platform) Image() string { return "oem-" + p.ID.Value }

// Supports tells whether the platform exists for an architecture.
func (p *Platform) Supports(a arch.Arch) bool { return slices.Contains(p.Arches, a) }

// Load reads every platform of the directory dir in fsys, in the order of their ids.
// It returns those that could be read and the mistakes of all of them.
func Load(fsys fs.FS, dir string, recipes recipe.Set) ([]*Platform, strictyaml.Mistakes) {
	var platforms []*Platform
	mistakes := strictyaml.Files(fsys, path.Join(dir, "*.yaml"), func(file string, content []byte) strictyaml.Mistakes {
		p := &Platform{File: file}
		platforms = append(platforms, p)
		return append(strictyaml.Decode(file, content, p), p.check(recipes)...)
	})
	return platforms, mistakes
}

// Ids become file names and part of the kernel command line.
var validID = regexp.MustCompile(`^[a-z0-9]+$`)

// check links the recipes and looks for what is wrong with the platform.
func (p *Platform) check(recipes recipe.Set) strictyaml.Mistakes {
	var mistakes strictyaml.Mistakes
	add := func(line strictyaml.Line, format string, args ...any) {
		mistakes = append(mistakes, strictyaml.Mistake{File: p.File, Line: max(line, 1), Text: fmt.Sprintf(format, args...)})
	}
	id := strings.TrimSuffix(path.Base(p.File), ".yaml")
	if p.ID.Line > 0 && p.ID.Value != id {
		add(p.ID.Line, "the platform has the id %q; wanted %q like its file", p.ID, id)
	}
	if !validID.MatchString(id) {
		add(p.ID.Line, "id %q; wanted lower case letters and digits", id)
	}
	var names []string
	for _, name := range p.RecipeNames {
		r := recipes[name.Value]
		if r == nil {
			add(name.Line, "%s uses %q, which is not a recipe; wanted the name of a directory in recipes/", id, name)
			continue
		}
		if slices.Contains(names, name.Value) {
			add(name.Line, "%s uses %q twice; wanted once", id, name)
			continue
		}
		for _, a := range p.Arches {
			if !r.Supports(a) {
				add(name.Line, "%s is for %s, but %s is not (%s)", id, a, name, r.File)
			}
		}
		names = append(names, name.Value)
	}
	p.Recipes = recipes.With(names...)
	return mistakes
}
