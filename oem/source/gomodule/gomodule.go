// Package gomodule is the source of Go modules from the module proxy.
package gomodule

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/source/newer"
	"github.com/flatcar/oem-sysext/oem/tools/golang"
)

// Of returns a recipe's source if it is of this kind, else nil.
func Of(_ *recipe.Recipe, s recipe.Source) kind.Source {
	if s.Go == nil {
		return nil
	}
	return source{s.Go}
}

type source struct{ *recipe.Go }

// Module returns a recipe's module for the toolchain.
func Module(m *recipe.Go) golang.Module {
	return golang.Module{Path: m.Module, Version: m.Version, Sum: m.Sum}
}

// Agrees compares the pin with the sum in the recipe.
func (m source) Agrees(_ arch.Arch, pins []lock.Pin) bool {
	return len(pins) == 1 && string(pins[0].Digest) == m.Sum
}

// Look returns the module's file below the module proxy.
func (m source) Look(ctx context.Context, env *kind.Env, _ arch.Arch) ([]lock.Pin, error) {
	found, err := env.Go.Download(ctx, Module(m.Go))
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(found.Zip)
	if err != nil {
		return nil, err
	}
	// Below the cache's download directory, files have the names that they have below a proxy (go help goproxy).
	_, file, _ := strings.Cut(filepath.ToSlash(found.Zip), "/cache/download/")
	return []lock.Pin{{Name: m.Module, Version: m.Version, File: file, Size: lock.Size(info.Size()), Digest: lock.Digest(m.Sum)}}, nil
}

// Unpack does nothing: programs are compiled from the module later.
func (source) Unpack(context.Context, *kind.Env, []lock.Pin, kind.Place) error { return nil }

// Newer looks for a higher version on the module proxy.
func (m source) Newer(ctx context.Context, env *kind.Env) (*newer.Version, error) {
	versions, err := env.Go.Versions(ctx, m.Module)
	if err != nil {
		return nil, err
	}
	newest := newer.Highest(versions, m.Version, m.Update, func(a, b string) int {
		if semver.Prerelease(a) != "" && semver.Prerelease(b) == "" {
			return -1 // even if lower: prereleases are only for recipes that have one
		}
		return semver.Compare(a, b)
	})
	if newest == "" {
		return nil, nil
	}
	sum, err := env.Go.Sum(ctx, m.Module, newest)
	if err != nil {
		return nil, err
	}
	return &newer.Version{
		Name: m.Module, From: m.Version, To: newest,
		Edits: []newer.Edit{{Path: []any{"version"}, Value: newest}, {Path: []any{"sum"}, Value: sum}},
	}, nil
}
