package care

import (
	"context"
	"slices"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Trial is a recipe that was tried on a base.
type Trial struct {
	*oem.Tried
	Base      string   // with its version and architecture
	Platforms []string // that use the recipe
}

// Try builds a recipe for the base, checks it, and runs the commands that must work.
func Try(ctx context.Context, o setup.Options, name string) (*Trial, error) {
	platforms, recipes, err := definition.All(rooted.Files(o.Checkout))
	if err != nil {
		return nil, err
	}
	if _, err := recipes.Choose([]string{name}); err != nil {
		return nil, err
	}
	r, err := release.OpenForImages(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.Bench.Close()
	factory, err := r.Factory()
	if err != nil {
		return nil, err
	}
	defer r.Bench.Downloads.End()
	tried, err := factory.Try(ctx, name, recipes)
	if err != nil {
		return nil, err
	}
	return &Trial{tried, r.Base.ID + " " + r.Base.Version + " " + string(o.Arch), users(platforms, recipes[name])}, nil
}

// users returns the ids of platforms that have a recipe, also among their extras.
func users(platforms []*platform.Platform, r *recipe.Recipe) []string {
	var ids []string
	for _, p := range platforms {
		if slices.Contains(p.WithExtras().Recipes, r) {
			ids = append(ids, p.ID.Value)
		}
	}
	return ids
}
