// Package definition reads recipes and platforms.
package definition

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/near"
)

// Platforms reads recipes/ and platforms/ of a checkout and returns all platforms.
// The error is strictyaml.Mistakes with the mistakes of all files.
func Platforms(checkout fs.FS) ([]*platform.Platform, error) {
	platforms, _, err := All(checkout)
	return platforms, err
}

// All returns all platforms and all recipes, including those that no platform uses.
func All(checkout fs.FS) ([]*platform.Platform, recipe.Set, error) {
	recipes, mistakes := recipe.Load(checkout, "recipes")
	platforms, more := platform.Load(checkout, "platforms", recipes)
	return platforms, recipes, append(mistakes, more...).Err()
}

// Select returns the named platforms of an architecture, or all of them when no names are given.
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
			return nil, fmt.Errorf("no platform %q for %s; %s", id, a, near.Wanted(id, known))
		}
	}
	return selected, nil
}

// Recipe reads all recipes of a checkout and returns the named one, whether or not a platform uses it.
func Recipe(checkout fs.FS, name string) (*recipe.Recipe, error) {
	recipes, mistakes := recipe.Load(checkout, "recipes")
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	if r := recipes[name]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("no recipe %q; %s", name, near.Wanted(name, slices.Sorted(maps.Keys(recipes))))
}
