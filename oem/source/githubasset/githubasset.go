// Package githubasset is the source of assets of GitHub releases.
package githubasset

import (
	"context"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/source/download"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/source/newer"
)

// Of returns a recipe's source if it is of this kind, else nil.
func Of(r *recipe.Recipe, s recipe.Source) kind.Source {
	if s.GitHub == nil {
		return nil
	}
	return source{s.GitHub, r}
}

type source struct {
	*recipe.GitHub
	recipe *recipe.Recipe
}

// NeedsLock marks a source that needs a lock file: assets can be replaced.
func (source) NeedsLock() {}

// Look finds the asset and downloads it for its digest.
func (g source) Look(ctx context.Context, env *kind.Env, a arch.Arch) ([]lock.Pin, error) {
	asset, err := env.GitHub.Asset(ctx, g.Repository.Value, g.Tag, g.AssetFor(a))
	if err != nil {
		return nil, err
	}
	addresses := []string{env.GitHub.Address(asset.File)}
	seen, err := env.Store.Learn(ctx, fetch.Unpinned{URLs: addresses, Size: asset.Size})
	if err != nil {
		return nil, err
	}
	pin := lock.Pin{Name: asset.Name, Version: g.Tag, File: asset.File, Size: lock.Size(seen.Size), Digest: lock.OfSHA256(seen.SHA256)}
	return download.Found{Recipe: g.recipe, Signature: g.Signature, Path: seen.Path, Pin: pin, Addresses: addresses}.Pins(ctx, env)
}

// Unpack unpacks the asset. A second pin is its signature, which Look verified.
func (g source) Unpack(ctx context.Context, env *kind.Env, pins []lock.Pin, to kind.Place) error {
	file := download.File{Pin: pins[0], Addresses: []string{env.GitHub.Address(pins[0].File)}, Unpack: g.GitHub.Unpack}
	return kind.About(file.Pin, file.LayOut(ctx, env, to))
}

// Newer looks for a higher version among the release tags.
func (g source) Newer(ctx context.Context, env *kind.Env) (*newer.Version, error) {
	tags, err := env.GitHub.Tags(ctx, g.Repository.Value)
	if err != nil {
		return nil, err
	}
	newest := newer.Highest(tags, g.Tag, g.Update, newer.CompareTags)
	if newest == "" {
		return nil, nil
	}
	return &newer.Version{Name: g.Repository.Value, From: g.Tag, To: newest, Edits: []newer.Edit{{Path: []any{"tag"}, Value: newest}}}, nil
}
