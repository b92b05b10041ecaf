package setup

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// Choice is what a run makes: platforms, recipes, profile, layout and base.
type Choice struct {
	Catalogue []*platform.Platform // all platforms
	Chosen    []*platform.Platform // the ones to build
	Recipes   recipe.Set
	Profile   *profiles.Profile
	Previous  []*manifest.Manifest // of earlier releases, oldest first
	DeltaFrom []Release            // earlier releases whose machines get an update of their own
	BaseID    string
	Layout    Layout
	Integrate bool     // Flatcar's own scripts are to leave OEM images to the release
	named     []string // ids of the platforms named in the options or the profile
}

// Choose reads all definitions and the profile. The profile decides whatever the options leave open.
func Choose(o Options) (*Choice, error) {
	c := &Choice{Integrate: !o.Integrate.Off}
	var err error
	if c.Catalogue, c.Recipes, err = definition.All(rooted.Files(o.Checkout)); err != nil {
		return nil, err
	}
	known := profiles.Known{Platforms: PlatformIDs(c.Catalogue), Recipes: slices.Sorted(maps.Keys(c.Recipes))}
	if c.Profile, err = profiles.Load(o.Checkout, orElse(o.Profile, profiles.Default), known); err != nil {
		return nil, err
	}
	if o.OEM != "" {
		c.Profile.OEM = profiles.OEM{All: o.OEM}
	}
	c.BaseID = orElse(o.BaseID, orElse(c.Profile.Base, DefaultBase))
	c.named = o.Platforms
	if len(c.named) == 0 {
		c.named = c.Profile.PlatformIDs()
	}
	if c.Profile.Extras || o.Extras {
		for i, p := range c.Catalogue {
			c.Catalogue[i] = p.WithExtras()
		}
	}
	if c.Chosen, err = definition.Select(c.Catalogue, o.Arch, c.named...); err != nil {
		return nil, err
	}
	if c.Previous, err = previousReleases(o.Previous); err != nil {
		return nil, err
	}
	for _, dir := range o.DeltaFrom {
		r, err := ReadRelease(dir)
		if err != nil {
			return nil, fmt.Errorf("DELTA_FROM: %w", err)
		}
		c.DeltaFrom = append(c.DeltaFrom, r)
	}
	return c, nil
}

// WithLayout returns the choice with the layout of a base, by the base's id, unless the profile names another layout.
func (c Choice) WithLayout(checkout, baseID string) (*Choice, error) {
	var err error
	c.Layout, err = layoutOf(checkout, c.Profile, baseID)
	return &c, err
}

// Named reports whether a platform was named by its id.
func (c *Choice) Named(id string) bool { return slices.Contains(c.named, id) }

// Wants reports whether a platform is to be built: a named one, or any when none is named.
func (c *Choice) Wants(id string) bool { return len(c.named) == 0 || c.Named(id) }

// PlatformIDs returns the ids of platforms.
func PlatformIDs(platforms []*platform.Platform) []string {
	ids := make([]string, len(platforms))
	for i, p := range platforms {
		ids[i] = p.ID.Value
	}
	return ids
}

// Release is a finished release in a directory.
type Release struct {
	*manifest.Manifest
	Dir string
}

// ReadRelease reads the manifest in a release's directory.
func ReadRelease(dir string) (Release, error) {
	m, err := manifest.Read(filepath.Join(dir, manifest.FileName))
	return Release{m, dir}, err
}

// previousReleases reads the manifests of earlier releases.
func previousReleases(paths []string) ([]*manifest.Manifest, error) {
	var all []*manifest.Manifest
	for _, path := range paths {
		m, err := manifest.Read(path)
		if err != nil {
			return nil, fmt.Errorf("PREVIOUS: %w", err)
		}
		all = append(all, m)
	}
	return all, nil
}

// Blobs lists the blob of a file, for cached results that consist of one file.
func Blobs(i manifest.Installed) []store.Blob {
	return []store.Blob{{SHA256: i.SHA256, Size: int64(i.Size)}}
}
