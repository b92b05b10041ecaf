// Package oem builds OEM images: trees from recipes, and one image per platform from trees.
package oem

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/layer"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/stage"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Staged is one platform's tree, checked against the base.
type Staged struct {
	Platform *platform.Platform
	Tree     tree.Tree
	Dropped  tree.Tree // files that the base has
	Recipes  []Made    // its recipes, in the order of installation
}

// RecipeOf returns the name of the recipe that a file comes from; empty if staging added it.
func (s *Staged) RecipeOf(path string) string {
	for _, made := range s.Recipes {
		if made.Tree.At(path) != nil {
			return made.Recipe.Name.Value
		}
	}
	return ""
}

// Made is one recipe's tree.
type Made struct {
	Recipe *recipe.Recipe // with the sources for the base
	Tree   tree.Tree
	Inputs []input.Input
}

// Image is the packed image of one platform.
type Image struct {
	pack.Image
	Staged
}

// Layer is the content of one image, of one platform or shared by several.
type Layer struct {
	Name      string   // of the image, without suffix
	Platforms []string // ids of the platforms that activate it
	Tree      tree.Tree
}

// Factory has the tools and caches for Build.
type Factory struct {
	Base     *target.Base
	Builder  *build.Builder
	Packer   *pack.Packer
	Blobs    *store.Blobs
	Progress *progress.Display
	Jobs     int // recipes and images built concurrently
}

// Build makes one self-contained image for each platform, in order.
func (f *Factory) Build(ctx context.Context, platforms []*platform.Platform) ([]Image, error) {
	staged, err := f.Stage(ctx, platforms)
	if err != nil {
		return nil, err
	}
	return f.Pack(ctx, staged)
}

// Pack makes one self-contained image for each staged platform.
func (f *Factory) Pack(ctx context.Context, staged []Staged) ([]Image, error) {
	images := make([]Image, len(staged))
	err := each(ctx, f, "images", staged, func(s Staged) string { return s.Platform.ID.Value }, func(ctx context.Context, i int) (err error) {
		images[i].Staged = staged[i]
		images[i].Image, err = f.Packer.Image(ctx, staged[i].Tree, rung.Default)
		return err
	})
	return images, err
}

// Recipe builds the tree of one recipe and those that it needs, as a plain extension without an extension-release.
func (f *Factory) Recipe(ctx context.Context, name string, all recipe.Set) (tree.Tree, []Made, error) {
	recipes := all.With(name)
	resolved, err := f.resolve(ctx, recipes)
	if err != nil {
		return nil, nil, err
	}
	byRecipe, err := f.buildRecipes(ctx, recipes, resolved)
	if err != nil {
		return nil, nil, err
	}
	var merged tree.Tree
	var made []Made
	for _, one := range recipes {
		merged, _ = tree.Merge(merged, byRecipe[one].Tree)
		made = append(made, byRecipe[one])
	}
	return merged.Without(f.Base.Usr), made, nil
}

// Stage builds the trees of platforms, in order.
func (f *Factory) Stage(ctx context.Context, platforms []*platform.Platform) ([]Staged, error) {
	if err := f.checkSources(platforms); err != nil {
		return nil, err
	}
	made, err := f.Recipes(ctx, RecipesOf(platforms))
	if err != nil {
		return nil, err
	}
	return f.stage(ctx, platforms, made)
}

// Recipes builds the trees of recipes, without a platform.
func (f *Factory) Recipes(ctx context.Context, recipes []*recipe.Recipe) (map[*recipe.Recipe]Made, error) {
	lacking := f.lacking(recipes)
	resolved, err := f.resolve(ctx, lacking)
	if err != nil {
		return nil, err
	}
	return f.buildRecipes(ctx, lacking, resolved)
}

// Layers splits the trees of platforms: each one's own layer, in order, then the shared ones.
// No platform activates more than maxImages of them.
func (f *Factory) Layers(staged []Staged, maxImages int) ([]Layer, error) {
	whole := make([]layer.Platform, len(staged))
	for i, s := range staged {
		whole[i] = layer.Platform{ID: s.Platform.ID.Value, Tree: s.Tree}
	}
	var layers []Layer
	for i, l := range layer.Split(whole, maxImages) {
		named := Layer{Name: l.Name, Platforms: l.Platforms, Tree: l.Tree}
		if !l.Shared() {
			named.Name = staged[i].Platform.Image()
			layers = append(layers, named)
			continue
		}
		var err error
		release := stage.Release{Image: l.Name, Title: "OEM tools of several platforms"}
		if named.Tree, err = stage.WithRelease(l.Tree, release, f.Base, f.keep); err != nil {
			return nil, err
		}
		layers = append(layers, named)
	}
	return layers, nil
}

// checkSources refuses recipes without a source for the base, and names the platforms that have them.
func (f *Factory) checkSources(platforms []*platform.Platform) error {
	var mistakes []error
	on := f.Builder.On()
	for _, r := range f.lacking(RecipesOf(platforms)) {
		if !r.Nothing(on) {
			continue
		}
		var costs []string
		for _, p := range platforms {
			if slices.Contains(p.Recipes, r) {
				costs = append(costs, p.ID.Value)
			}
		}
		mistakes = append(mistakes, fmt.Errorf("%s: no source is for a base of the family %s; add one with for: %[2]s, or leave out %s",
			r.File, on.Family, strings.Join(costs, ", ")))
	}
	return errors.Join(mistakes...)
}

// lacking leaves out recipes of tools that the base has.
func (f *Factory) lacking(recipes []*recipe.Recipe) []*recipe.Recipe {
	return slices.DeleteFunc(slices.Clone(recipes), func(r *recipe.Recipe) bool {
		lacks := func(p recipe.Path) bool { return !f.Base.Has(string(p)) }
		if len(r.Unless) == 0 || slices.ContainsFunc(r.Unless, lacks) {
			return false
		}
		f.Builder.Log.Info("the base has this tool; skipping the recipe", "recipe", r.Name.Value, "has", r.Unless)
		return true
	})
}

// RecipesOf returns the recipes of all platforms, without duplicates.
func RecipesOf(platforms []*platform.Platform) []*recipe.Recipe {
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

// buildRecipes builds each recipe's tree and checks its packed size. The error names all recipes above their limit. What is resolved are the
// recipes for this base.
func (f *Factory) buildRecipes(ctx context.Context, recipes []*recipe.Recipe, resolved []*build.Resolved) (map[*recipe.Recipe]Made, error) {
	made := make([]Made, len(resolved))
	mistakes := make([]error, len(resolved))
	err := each(ctx, f, "recipes", resolved, func(r *build.Resolved) string { return r.Recipe.Name.Value }, func(ctx context.Context, i int) error {
		t, err := f.Builder.Tree(ctx, resolved[i])
		if err != nil {
			return err
		}
		made[i] = Made{Recipe: resolved[i].Recipe, Tree: t, Inputs: resolved[i].Inputs()}
		mistakes[i] = f.checkSize(ctx, resolved[i], t)
		return nil
	})
	byRecipe := map[*recipe.Recipe]Made{}
	for i, m := range made {
		byRecipe[recipes[i]] = m
	}
	return byRecipe, errors.Join(append(mistakes, err)...)
}

// checkSize refuses a tree that is over its recipe's limit, and says what takes the space.
func (f *Factory) checkSize(ctx context.Context, r *build.Resolved, t tree.Tree) error {
	alone, err := f.Packer.Image(ctx, t, rung.Default)
	if err != nil {
		return err
	}
	limit := r.Recipe.MaxSize.Bytes
	if alone.Size <= limit {
		return nil
	}
	shares, err := f.Builder.Shares(ctx, r, t)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: max_size: %s packs to %v, which is %v over %v; prune it, or raise the limit in review; %v unpacked%s",
		r.Recipe.File, r.Recipe.Name, alone.Size, alone.Size-limit, limit, t.Size(), largest(shares))
}

// largest lists the inputs that take most.
func largest(shares []build.Share) string {
	const most = 5
	var list strings.Builder
	for _, share := range shares[:min(most, len(shares))] {
		fmt.Fprintf(&list, "\n  %v", share)
	}
	if more := len(shares) - most; more > 0 {
		fmt.Fprintf(&list, "\n  and %d smaller ones", more)
	}
	return list.String()
}

// stage builds and checks the trees of all platforms. The error has the problems of all.
func (f *Factory) stage(ctx context.Context, platforms []*platform.Platform, made map[*recipe.Recipe]Made) ([]Staged, error) {
	checker, err := check.New(f.Base, f.Blobs, f.Builder.Results, f.Builder.Scratch)
	if err != nil {
		return nil, err
	}
	stager := &stage.Stager{Base: f.Base, Epoch: f.Packer.Epoch, Keep: f.keep, Check: checker.Tree, Indexes: checker.ModuleIndexes, Works: checker.Works}
	all := make([]Staged, len(platforms))
	mistakes := make([]error, len(platforms))
	err = each(ctx, f, "platforms checked", platforms, func(p *platform.Platform) string { return p.ID.Value }, func(ctx context.Context, i int) error {
		var parts []stage.Part
		all[i].Platform = platforms[i]
		for _, r := range platforms[i].Recipes {
			if m, lacked := made[r]; lacked {
				all[i].Recipes = append(all[i].Recipes, m)
				parts = append(parts, stage.Part{Recipe: r, Tree: m.Tree, Inputs: m.Inputs})
			}
		}
		staged, err := stager.Stage(ctx, platforms[i], all[i].Version(), parts)
		all[i].Tree, all[i].Dropped, mistakes[i] = staged.Tree, staged.Dropped, err
		return nil
	})
	return all, errors.Join(append(mistakes, err)...)
}

func (f *Factory) keep(content string) (digest.SHA256, error) {
	d, _, err := f.Blobs.Add(strings.NewReader(content))
	return d, err
}

// each runs work for the number of each element of all, concurrently, and shows progress.
func each[T any](ctx context.Context, f *Factory, what string, all []T, name func(T) string, work func(context.Context, int) error) error {
	step := f.Progress.Items(what, len(all))
	defer step.End()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.Jobs)
	for i := range all {
		group.Go(func() error {
			defer step.On(name(all[i]))()
			err := work(ctx, i)
			if err == nil {
				step.Add(1)
			}
			return err
		})
	}
	return group.Wait()
}
