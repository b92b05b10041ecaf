// Package platform reads platforms/ID.yaml: the recipes of a cloud's OEM tools, and the rules to detect its machines.
package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// Platform is one cloud.
type Platform struct {
	ID              strictyaml.Text   `yaml:"id,required"`
	Name            string            `yaml:"name,required"`
	Homepage        recipe.Homepage   `yaml:"homepage"`
	KernelID        strictyaml.Text   `yaml:"kernel_id,required"` // flatcar.oem.id= on the kernel command line
	Arches          []arch.Arch       `yaml:"arches,required"`
	RecipeNames     []strictyaml.Text `yaml:"recipes,required"`
	ActiveUnits     []strictyaml.Text `yaml:"active_units"`     // units that must be in the image
	Extras          *Extras           `yaml:"extras"`           // what Flatcar's own image does not have, for profiles that ask for it
	Detect          []detect.Rule     `yaml:"detect"`           // how a machine is recognised: one rule must fit
	DetectBefore    []strictyaml.Text `yaml:"detect_before"`    // platforms that this one takes precedence over when both fit
	AmbiguousWith   []strictyaml.Text `yaml:"ambiguous_with"`   // platforms that some of its machines cannot be told from
	KernelArguments KernelArguments   `yaml:"kernel_arguments"` // added to the kernel command line in Flatcar's image for the platform
	Missing         map[string]string `yaml:"missing"`          // tools that should be in the image but are unavailable, with the reason
	Works           []recipe.Command  `yaml:"works"`            // commands that must work in the merged system, besides those of the recipes
	Initrd          *Initrd           `yaml:"initrd"`           // an additional image that an initramfs can load

	// File is the platform's file, for messages.
	File string `yaml:"-"`
	// Recipes are the named recipes and those that they need, in the order of installation.
	Recipes []*recipe.Recipe `yaml:"-"`
}

// Extras are tools that are of use on the platform, and that Flatcar's own image for it does not have.
type Extras struct {
	RecipeNames []strictyaml.Text `yaml:"recipes,required"`
	ActiveUnits []strictyaml.Text `yaml:"active_units"` // units that must be in an image with them

	// Recipes are the platform's, the named ones and those that they need, in the order of installation.
	Recipes []*recipe.Recipe `yaml:"-"`
}

// WithExtras returns the platform with its extras.
func (p *Platform) WithExtras() *Platform {
	if p.Extras == nil {
		return p
	}
	q := *p
	q.Recipes, q.ActiveUnits = p.Extras.Recipes, slices.Concat(p.ActiveUnits, p.Extras.ActiveUnits)
	if p.Initrd != nil && len(p.Initrd.RecipeNames) == 0 {
		initrd := *p.Initrd
		initrd.Recipes = q.Recipes
		q.Initrd = &initrd
	}
	return &q
}

// Main are the recipes that the platform names, in that order, without those that they need.
func (p *Platform) Main() []*recipe.Recipe {
	names := p.RecipeNames
	if p.Extras != nil {
		names = slices.Concat(names, p.Extras.RecipeNames)
	}
	var named []*recipe.Recipe
	for _, name := range names {
		if at := slices.IndexFunc(p.Recipes, func(r *recipe.Recipe) bool { return r.Name.Value == name.Value }); at >= 0 {
			named = append(named, p.Recipes[at])
		}
	}
	return named
}

// HasExtras tells whether recipes with these names have the platform's extras among them.
func (p *Platform) HasExtras(recipes []string) bool {
	if p.Extras == nil {
		return false
	}
	lacks := func(r *recipe.Recipe) bool { return !slices.Contains(recipes, r.Name.Value) }
	return !slices.ContainsFunc(p.Extras.Recipes, lacks)
}

// Initrd is the platform's image for an initramfs.
type Initrd struct {
	RecipeNames []strictyaml.Text `yaml:"recipes"` // recipes in the image; all of the platform's if empty
	Modules     []strictyaml.Text `yaml:"modules"` // kernel modules of the base, loaded in the initramfs from the image

	// SecondStage also puts the image into the second-stage initramfs in /usr, on bases that have one.
	SecondStage bool `yaml:"second_stage"`

	// Recipes are the named recipes and those that they need, in the order of installation.
	Recipes []*recipe.Recipe `yaml:"-"`
}

// ForInitrd returns the platform for the image of an initramfs, without required units; nil if it has no such image.
func (p *Platform) ForInitrd() *Platform {
	if p.Initrd == nil {
		return nil
	}
	q := *p
	q.Recipes, q.ActiveUnits, q.Works = p.Initrd.Recipes, nil, nil
	return &q
}

// AllModules returns the modules of the recipes, then the platform's own, without duplicates.
func (i *Initrd) AllModules() []string {
	var names []string
	for _, r := range i.Recipes {
		names = append(names, values(r.Modules)...)
	}
	var all []string
	for _, name := range append(names, values(i.Modules)...) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// Work is a command that must work, and the file that says so.
type Work struct {
	File string
	recipe.Command
}

// Commands returns the commands that must work on the platform's machines: those of the recipes, then its own.
func (p *Platform) Commands() []Work {
	var all []Work
	for _, r := range p.Recipes {
		for _, command := range r.Works {
			all = append(all, Work{r.File, command})
		}
	}
	for _, command := range p.Works {
		all = append(all, Work{p.File, command})
	}
	return all
}

// KernelArguments are added to the kernel command line, besides flatcar.oem.id=.
type KernelArguments struct {
	All   []string `yaml:"all"`   // on every architecture
	AMD64 []string `yaml:"amd64"` // on amd64 in addition
	ARM64 []string `yaml:"arm64"` // on arm64 in addition
}

// For returns the words for an architecture.
func (k KernelArguments) For(a arch.Arch) []string {
	own := map[arch.Arch][]string{arch.AMD64: k.AMD64, arch.ARM64: k.ARM64}
	return slices.Concat(k.All, own[a])
}

// Image returns the name of the platform's image without suffix, as in the name of its extension-release.
func (p *Platform) Image() string { return "oem-" + p.ID.Value }

// Supports tells whether the platform exists for an architecture.
func (p *Platform) Supports(a arch.Arch) bool { return slices.Contains(p.Arches, a) }

// Candidate returns the platform's rules for detection.
func (p *Platform) Candidate() detect.Candidate {
	return detect.Candidate{ID: p.ID.Value, Rules: p.Detect, Before: values(p.DetectBefore), AmbiguousWith: values(p.AmbiguousWith)}
}

// ByKernelID returns the platform for a value of flatcar.oem.id=, or nil. If several share it, it is the one with that id.
func ByKernelID(platforms []*Platform, kernelID string) *Platform {
	var found *Platform
	for _, p := range platforms {
		if p.KernelID.Value == kernelID && (found == nil || p.ID.Value == kernelID) {
			found = p
		}
	}
	return found
}

// Load reads every platform of the directory dir in fsys, in the order of their ids.
// It returns the valid ones and the mistakes of all files.
func Load(fsys fs.FS, dir string, recipes recipe.Set) ([]*Platform, strictyaml.Mistakes) {
	var platforms []*Platform
	mistakes := strictyaml.Files(fsys, path.Join(dir, "*.yaml"), func(file string, content []byte) strictyaml.Mistakes {
		p := &Platform{File: file}
		platforms = append(platforms, p)
		c := checker{platform: p, mistakes: strictyaml.Decode(file, content, p)}
		if reflect.DeepEqual(p, &Platform{File: file}) { // nothing was read, which is said
			p.ID.Value = strings.TrimSuffix(path.Base(file), ".yaml")
		} else {
			c.check(recipes)
		}
		return c.mistakes
	})
	mistakes = append(mistakes, unread(fsys, dir)...)
	for _, p := range platforms {
		c := checker{platform: p}
		c.checkOthers(platforms)
		mistakes = append(mistakes, c.mistakes...)
	}
	return platforms, append(mistakes, checkMarkers(platforms)...)
}

// unread reports files that are called almost like a platform's.
func unread(fsys fs.FS, dir string) (mistakes strictyaml.Mistakes) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return strictyaml.Mistakes{{File: dir, Line: 1, Text: err.Error()}}
	}
	for _, entry := range entries {
		if name := entry.Name(); path.Ext(name) != ".yaml" && strictyaml.LooksLike(name) {
			mistakes = append(mistakes, strictyaml.Mistake{File: path.Join(dir, name), Line: 1, Text: fmt.Sprintf("is not read; wanted .yaml, as in %s.yaml", strings.TrimSuffix(name, path.Ext(name)))})
		}
	}
	return mistakes
}

func values(texts []strictyaml.Text) []string {
	var found []string
	for _, text := range texts {
		found = append(found, text.Value)
	}
	return found
}
