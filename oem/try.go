package oem

import (
	"context"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/rung"
)

// Tried is a recipe that was built, checked and run as the only one of an image, with those that it needs.
type Tried struct {
	Recipe *recipe.Recipe
	Image  Image
	Own    *Made           // the recipe's part; nil if the base has the tool
	Packed size.Bytes      // of it alone
	Works  []platform.Work // commands that must work
	Ran    bool            // they were run; else the host cannot run the base's programs
}

// Try builds an image of one recipe and those that it needs, checks it against the base, and runs the commands that must work. The error
// has all that is wrong.
func (f *Factory) Try(ctx context.Context, name string, all recipe.Set) (*Tried, error) {
	r := all[name]
	if !r.Supports(f.Base.Arch) {
		return nil, fmt.Errorf("%s is not for %s; its arches are %v", r.File, f.Base.Arch, r.Arches)
	}
	p := &platform.Platform{ID: strictyaml.Text{Value: name}, Name: name, Homepage: r.Homepage, File: r.File, Recipes: all.With(name)}
	images, err := f.Build(ctx, []*platform.Platform{p})
	if err != nil {
		return nil, err
	}
	tried := &Tried{Recipe: r, Image: images[0], Works: p.Commands()}
	for i, made := range images[0].Recipes {
		if made.Recipe.Name == r.Name {
			tried.Own = &images[0].Recipes[i]
		}
	}
	if tried.Own == nil {
		return tried, nil
	}
	alone, err := f.Packer.Image(ctx, tried.Own.Tree, rung.Default)
	if err != nil {
		return nil, err
	}
	checker, err := check.New(f.Base, f.Blobs, f.Builder.Results, f.Builder.Scratch)
	tried.Packed = alone.Size
	if err == nil {
		tried.Ran = checker.Runs()
	}
	return tried, err
}
