// Package platform reads which recipes make up one cloud's OEM tools, and how its machines are recognised: platforms/ID.yaml.
package platform

import (
	"io/fs"
	"path"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// Platform is one cloud.
type Platform struct {
	ID              strictyaml.Text   `yaml:"id,required"`
	Name            string            `yaml:"name,required"`
	Homepage        string            `yaml:"homepage"`
	KernelID        strictyaml.Text   `yaml:"kernel_id,required"` // flatcar.oem.id= on the kernel command line
	Arches          []arch.Arch       `yaml:"arches,required"`
	RecipeNames     []strictyaml.Text `yaml:"recipes,required"`
	ActiveUnits     []strictyaml.Text `yaml:"active_units"`     // units that must be in the image
	Detect          []detect.Rule     `yaml:"detect"`           // how a machine is recognised; one rule must fit
	DetectBefore    []strictyaml.Text `yaml:"detect_before"`    // platforms that this one wins against where both fit
	AmbiguousWith   []strictyaml.Text `yaml:"ambiguous_with"`   // platforms that some of this one's machines look like
	KernelArguments KernelArguments   `yaml:"kernel_arguments"` // what Flatcar's image for the platform adds to the kernel command line
	Missing         map[string]string `yaml:"missing"`          // tools that belong here and cannot be had, each with the reason
	Initrd          *Initrd           `yaml:"initrd"`           // asks for an image that an initramfs can load

	// File is where the platform was read, for messages.
	File string `yaml:"-"`
	// Recipes are the named recipes and what they need, in the order they are laid out.
	Recipes []*recipe.Recipe `yaml:"-"`
}

// Initrd is what a platform has in an initramfs.
type Initrd struct {
	RecipeNames []strictyaml.Text `yaml:"recipes"` // what is in the image; all of the platform's when there are none
	Modules     []strictyaml.Text `yaml:"modules"` // of the base's kernel, which the initramfs loads from the image

	// SecondStage places the image into the initramfs that lies in /usr of a base, where the base has one.
	SecondStage bool `yaml:"second_stage"`

	// Recipes are the named recipes and what they need, in the order they are laid out.
	Recipes []*recipe.Recipe `yaml:"-"`
}

// ForInitrd returns the platform as it is in an initramfs, of which no unit is required; nil where it asks for nothing there.
func (p *Platform) ForInitrd() *Platform {
	if p.Initrd == nil {
		return nil
	}
	q := *p
	q.Recipes, q.ActiveUnits = p.Initrd.Recipes, nil
	return &q
}

// AllModules returns the modules that the recipes name, and then the platform's own, each once.
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

// KernelArguments are words for the kernel command line, besides flatcar.oem.id=.
type KernelArguments struct {
	All   []string `yaml:"all"`   // on every architecture
	AMD64 []string `yaml:"amd64"` // on amd64 as well
	ARM64 []string `yaml:"arm64"` // on arm64 as well
}

// For returns the words for an architecture.
func (k KernelArguments) For(a arch.Arch) []string {
	own := map[arch.Arch][]string{arch.AMD64: k.AMD64, arch.ARM64: k.ARM64}
	return slices.Concat(k.All, own[a])
}

// Image returns the name of the platform's image without suffix, which extension-release repeats.
func (p *Platform) Image() string { return "oem-" + p.ID.Value }

// Supports tells whether the platform exists for an architecture.
func (p *Platform) Supports(a arch.Arch) bool { return slices.Contains(p.Arches, a) }

// Candidate returns what recognising the platform needs.
func (p *Platform) Candidate() detect.Candidate {
	return detect.Candidate{ID: p.ID.Value, Rules: p.Detect, Before: values(p.DetectBefore), AmbiguousWith: values(p.AmbiguousWith)}
}

// ByKernelID returns the platform that flatcar.oem.id= names, or nil. Where several share it, it is the one of that id.
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
// It returns those that could be read and the mistakes of all of them.
func Load(fsys fs.FS, dir string, recipes recipe.Set) ([]*Platform, strictyaml.Mistakes) {
	var platforms []*Platform
	mistakes := strictyaml.Files(fsys, path.Join(dir, "*.yaml"), func(file string, content []byte) strictyaml.Mistakes {
		p := &Platform{File: file}
		platforms = append(platforms, p)
		c := checker{platform: p, mistakes: strictyaml.Decode(file, content, p)}
		c.check(recipes)
		return c.mistakes
	})
	for _, p := range platforms {
		c := checker{platform: p}
		c.checkOthers(platforms)
		mistakes = append(mistakes, c.mistakes...)
	}
	return platforms, mistakes
}

func values(texts []strictyaml.Text) []string {
	var found []string
	for _, text := range texts {
		found = append(found, text.Value)
	}
	return found
}
