package deb

import (
	"context"
	"errors"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// Unpack unpacks the packages.
func (d source) Unpack(ctx context.Context, env *kind.Env, pins []lock.Pin, to kind.Place) error {
	var scripts []script
	for _, pin := range pins {
		keep := to.Keep
		if !d.names(pin.Name) {
			keep = to.KeepNeeded
		}
		file, err := d.fetch(ctx, env, to.Arch, pin)
		if err == nil {
			_, err = debian.Unpack(file, debian.Identity{Name: pin.Name, Version: pin.Version, Arch: string(to.Arch)}, to.Root, keep)
		}
		if err != nil {
			return kind.About(pin, err)
		}
		read, err := readScript(pin, file)
		if err != nil {
			return kind.About(pin, err)
		}
		scripts = append(scripts, read)
	}
	return d.install(scripts, to)
}

// names tells whether the recipe lists a package, which otherwise is a dependency.
func (d source) names(name string) bool {
	return slices.ContainsFunc(d.Packages, func(p strictyaml.Text) bool { return p.Value == name })
}

// fetch downloads a package.
func (d source) fetch(ctx context.Context, env *kind.Env, a arch.Arch, pin lock.Pin) (string, error) {
	file, err := env.Archive.Deb(ctx, debian.Package{
		Name: pin.Name, Version: pin.Version, Pocket: pin.From, Filename: pin.File, Size: size.Bytes(pin.Size), SHA256: pin.SHA256(),
	})
	if errors.Is(err, fetch.ErrNotFound) {
		return "", &kind.GoneError{
			Recipe: d.recipe.Name.Value, Package: pin.Name, Pinned: pin.Version, Offered: d.offered(ctx, env, a, pin.Name), Err: fetch.ErrNotFound,
		}
	}
	return file, err
}

// offered is the archive's current version of a package; empty if there is none or the archive is unreachable.
func (d source) offered(ctx context.Context, env *kind.Env, a arch.Arch, name string) string {
	release, err := env.Archive.Release(ctx, d.Suite, string(a))
	if err != nil {
		return ""
	}
	packages, err := release.Packages(ctx)
	if err != nil {
		return ""
	}
	return packages.Version(name)
}
