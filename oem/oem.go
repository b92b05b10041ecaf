// Package oem builds OEM images: from recipes to trees, from trees to one image per platform.
package oem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/arch"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/pack"
	"github.com/flatcar/oem-sysext/oem/platform"
	"github.com/flatcar/oem-sysext/oem/progress"
	"github.com/flatcar/oem-sysext/oem/recipe"
	"github.com/flatcar/oem-sysext/oem/size"
	"github.com/flatcar/oem-sysext/oem/stage"
	"github.com/flatcar/oem-sysext/oem/store"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Definitions reads recipes/ and platforms/ of a checkout and returns all platforms.
// The error is strictyaml.Mistakes with everything that is wrong in any file.
func Definitions(checkout fs.FS) ([]*platform.Platform, error) {
	recipes, mistakes := recipe.Load(checkout, "recipes")
	platforms, more := platform.Load(checkout, "platforms", recipes)
	return platforms, append(mistakes, more...).Err()
}

// Select returns the platforms that exist for an architecture, or those of them that are named.
func Select(platforms []*platform.Platform, a arch.Arch, ids ...string) ([]*platform.Platform, error) {
	var selected []*platform.Platform
	var known []string
	for _, p := range platforms {
		if !p.Supports(a) {
			continue
		}
		known = append(known, p.ID.Value)
		if len(ids) == 0 || slices.Contains(ids, p.ID.Value) {
			selected = append(selected, p)
		}
	}
	for _, id := range ids {
		if !slices.Contains(known, id) {
			return nil, fmt.Errorf("no platform %q for %s; there are %s", id, a, strings.Join(known, ", "))
		}
	}
	return selected, nil
}

// Image is the packed image of one platform.
type Image struct {
	pack.Image
	Platform *platform.Platform
	Tree     tree.Tree     // what is in it
	Dropped  tree.Tree     // what the base has already
	Inputs   []build.Input // what it was made from
}

// Factory is what Build works with.
type Factory struct {
	Base     *target.Base
	Builder  *build.Builder
	Packer   *pack.Packer
	Blobs    *store.Blobs
	Progress *progress.Display
	Jobs     int // recipes and images in work at a time
}

// Build makes the images of platforms, in their order.
func (f *Factory) Build(ctx context.Context, platforms []*platform.Platform) ([]Image, error) {
	resolved, err := f.resolve(ctx, recipesOf(platforms))
	if err != nil {
		return nil, err
	}
	parts, err := f.buildRecipes(ctx, resolved)
	if err != nil {
		return nil, err
	}
	images, err := f.stage(ctx, platforms, resolved, parts)
	if err != nil {
		return nil, err
	}
	return images, f.pack(ctx, images)
}

// recipesOf returns the recipes of all platforms, each once.
func recipesOf(platforms []*platform.Platform) []*recipe.Recipe {
	var recipes []*recipe.Recipe
	for _, p := range platforms {
		for _, r := range p.Recipes {
			if !slices.Contains(recipes, r) {
				recipes = append(recipes, r)
			}
		}
	}
	return recipes
}

func (f *Factory) resolve(ctx context.Context, recipes []*recipe.Recipe) ([]*build.Resolved, error) {
	resolved := make([]*build.Resolved, len(recipes))
	mistakes := make([]error, len(recipes))
	for i, r := range recipes { // one after the other: they share one index, which is loaded once
		resolved[i], mistakes[i] = f.Builder.Resolve(ctx, r, f.Base.Arch)
	}
	return resolved, errors.Join(mistakes...)
}

// buildRecipes makes each recipe's tree and checks that it packs into what the recipe allows.
func (f *Factory) buildRecipes(ctx context.Context, resolved []*build.Resolved) (map[*recipe.Recipe]stage.Part, error) {
	trees := make([]tree.Tree, len(resolved))
	err := f.each(ctx, "recipes", len(resolved), func(ctx context.Context, i int) error {
		var err error
		if trees[i], err = f.Builder.Tree(ctx, resolved[i]); err != nil {
			return err
		}
		return f.checkSize(ctx, resolved[i].Recipe, trees[i])
	})
	parts := map[*recipe.Recipe]stage.Part{}
	for i, r := range resolved {
		parts[r.Recipe] = stage.Part{Recipe: r.Recipe, Tree: trees[i]}
	}
	return parts, err
}

func (f *Factory) checkSize(ctx context.Context, r *recipe.Recipe, t tree.Tree) error {
	alone, err := f.Packer.Image(ctx, t, pack.Default)
	if err != nil {
		return err
	}
	if alone.Size > r.MaxSize.Bytes {
		return fmt.Errorf("%s: %s packs to %v, which is %v over its max_size of %v; prune it, or raise the limit in review",
			r.File, r.Name, alone.Size, alone.Size-r.MaxSize.Bytes, r.MaxSize)
	}
	return nil
}

// stage makes and checks the trees of all platforms, and says at once what is wrong with any of them.
func (f *Factory) stage(ctx context.Context, platforms []*platform.Platform, resolved []*build.Resolved, parts map[*recipe.Recipe]stage.Part) ([]Image, error) {
	checker, err := check.New(f.Base, f.Blobs, f.Builder.Results, f.Builder.Scratch)
	if err != nil {
		return nil, err
	}
	stager := &stage.Stager{Base: f.Base, Keep: f.keep, Check: checker.Tree}
	images := make([]Image, len(platforms))
	mistakes := make([]error, len(platforms))
	err = f.each(ctx, "platforms checked", len(platforms), func(ctx context.Context, i int) error {
		p := platforms[i]
		var own []stage.Part
		var inputs []build.Input
		for _, r := range p.Recipes {
			own = append(own, parts[r])
			at := slices.IndexFunc(resolved, func(candidate *build.Resolved) bool { return candidate.Recipe == r })
			inputs = append(inputs, resolved[at].Inputs()...)
		}
		staged, err := stager.Stage(ctx, p, own)
		images[i] = Image{Platform: p, Tree: staged.Tree, Dropped: staged.Dropped, Inputs: inputs}
		mistakes[i] = err
		return nil
	})
	return images, errors.Join(append(mistakes, err)...)
}

func (f *Factory) keep(content string) (digest.SHA256, error) {
	d, _, err := f.Blobs.Add(strings.NewReader(content))
	return d, err
}

func (f *Factory) pack(ctx context.Context, images []Image) error {
	return f.each(ctx, "images", len(images), func(ctx context.Context, i int) (err error) {
		images[i].Image, err = f.Packer.Image(ctx, images[i].Tree, pack.Default)
		return err
	})
}

// each runs work for 0 … n-1, several at a time, and shows how far it is.
func (f *Factory) each(ctx context.Context, what string, n int, work func(context.Context, int) error) error {
	step := f.Progress.Items(what, n)
	defer step.End()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.Jobs)
	for i := range n {
		group.Go(func() error {
			defer step.Add(1)
			return work(ctx, i)
		})
	}
	return group.Wait()
}

// Files returns how many files and links an image has.
func (i *Image) Files() int { return i.Tree.Files() }

// Unpacked returns the sum of the sizes of an image's files.
func (i *Image) Unpacked() size.Bytes { return i.Tree.Size() }
