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
	"github.com/flatcar/oem-sysext/oem/upstream/debian/maintainer"
)

// Unpack unpacks the packages.
func (d source) Unpack(ctx context.Context, env *kind.Env, pins []lock.Pin, to kind.Place) error {
	var first, last []unpacked // those that move files of others away come last
	for _, pin := range pins {
		p, err := d.open(ctx, env, to, pin)
		switch {
		case err != nil:
			return kind.About(pin, err)
		case len(p.diversions) > 0:
			last = append(last, p)
		default:
			first = append(first, p)
		}
	}
	var scripts []script
	for _, p := range append(first, last...) {
		if err := d.unpack(p, to); err != nil {
			return kind.About(p.pin, err)
		}
		scripts = append(scripts, p.script)
	}
	return d.install(scripts, to)
}

// unpacked is a package to be unpacked.
type unpacked struct {
	script
	file       string
	diversions []maintainer.Diversion
}

// open downloads a package and reads its scripts.
func (d source) open(ctx context.Context, env *kind.Env, to kind.Place, pin lock.Pin) (unpacked, error) {
	file, err := d.fetch(ctx, env, to.Arch, pin)
	if err != nil {
		return unpacked{}, err
	}
	p := unpacked{file: file}
	if p.diversions, err = diversions(file); err != nil {
		return p, err
	}
	p.script, err = readScript(pin, file)
	return p, err
}

// unpack moves away what is in a package's way, then unpacks it.
func (d source) unpack(p unpacked, to kind.Place) error {
	if err := divert(p.diversions, to.Root); err != nil {
		return err
	}
	keep := to.Keep
	if !d.names(p.pin.Name) {
		keep = to.KeepNeeded
	}
	_, err := debian.Unpack(p.file, debian.Identity{Name: p.pin.Name, Version: p.pin.Version, Arch: string(to.Arch)}, to.Root, keep)
	return err
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
