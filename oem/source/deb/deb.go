// Package deb is the source of Debian packages, with their dependencies that the base lacks.
package deb

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
)

// Of returns a recipe's source if it is of this kind, else nil.
func Of(r *recipe.Recipe, s recipe.Source) kind.Source {
	if s.Deb == nil {
		return nil
	}
	return source{s.Deb, r}
}

type source struct {
	*recipe.Deb
	recipe *recipe.Recipe
}

// everywhere are packages that are never installed on a base other than Debian, because it has its own or no use for them.
var everywhere = []string{
	// loader and C library belong together and are shared by all processes; libpam by all that ask for passwords
	"libc6", "libc-bin", "libpam0g",
	// programs and data that every base has in a package of its own
	"bash", "ca-certificates", "coreutils", "curl", "dash", "fdisk", "gdisk", "iproute2", "kmod", "mount", "netbase",
	"openssl", "passwd", "procps", "systemd", "tzdata", "udev", "util-linux",
	"perl-base", "sysvinit-utils",
	// plugins and settings of libraries for unused features
	"libsasl2-modules-db", "openssl-provider-legacy", "readline-common",
}

// installing are packages that others need for their install scripts, which do not run. They are in no image as mere dependencies.
var installing = []string{"adduser", "debconf", "dpkg", "init-system-helpers", "ucf"}

// unlessWanted returns what is left out of a recipe for these packages, less what one of them has for its own work: tools that make
// packages depend on dpkg, and everything else does so for its scripts, in Pre-Depends or through others.
func unlessWanted(packages *debian.Packages, want, without, named []string) []string {
	return slices.DeleteFunc(slices.Clone(without), func(name string) bool {
		return name == "dpkg" && !slices.Contains(named, name) &&
			slices.ContainsFunc(want, func(wanted string) bool { return packages.Depends(wanted, name) })
	})
}

// leftOut returns the packages that a recipe leaves out, and those that no recipe has to name for it.
func (d source) leftOut(private bool) []string {
	known := installing
	if private {
		known = slices.Concat(known, everywhere)
	}
	return slices.Concat(d.Without, slices.DeleteFunc(slices.Clone(known), d.names))
}

// Look returns the packages and the dependencies that the base lacks.
func (d source) Look(ctx context.Context, env *kind.Env, a arch.Arch) ([]lock.Pin, error) {
	debs, err := d.closure(ctx, env, a)
	return Pins(debs), err
}

// Pins converts packages to pins.
func Pins(debs []debian.Package) (pins []lock.Pin) {
	for _, p := range debs {
		pins = append(pins, lock.Pin{
			Name: p.Name, Version: p.Version, From: p.Pocket, File: p.Filename, Size: lock.Size(p.Size), Digest: lock.OfSHA256(p.SHA256),
		})
	}
	return pins
}

func (d source) closure(ctx context.Context, env *kind.Env, a arch.Arch) ([]debian.Package, error) {
	release, err := env.Archive.Release(ctx, d.Suite, string(a))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range d.Packages {
		names = append(names, name.Value)
	}
	without := d.leftOut(!env.Base.IsDebian())
	inputs := []any{release.Fingerprint, digest.Of(env.Base.Status), names, without}
	return store.Memo(ctx, env.Results.Step("closure", inputs), store.Nothing, func() ([]debian.Package, error) {
		return d.solve(ctx, env.Base, release, debian.Ask{Want: names, Without: without})
	})
}

// solve finds the packages that the base lacks.
func (d source) solve(ctx context.Context, base *target.Base, release *repository.Release, ask debian.Ask) ([]debian.Package, error) {
	var err error
	ask.Have, err = debian.ParseStatus(bytes.NewReader(base.Status))
	if err != nil {
		return nil, err
	}
	packages, err := release.Packages(ctx)
	if err != nil {
		return nil, err
	}
	ask.Without = unlessWanted(packages, ask.Want, ask.Without, d.Without)
	closure, err := packages.Closure(ask)
	if err != nil {
		return nil, err
	}
	unused := slices.DeleteFunc(closure.Unused, func(name string) bool { return slices.Contains(everywhere, name) || slices.Contains(installing, name) })
	if len(unused) > 0 && !base.IsDebian() { // on Debian the base has some of the packages in without:, so they count as unused
		return nil, fmt.Errorf("without: lists %s, which nothing needs; remove it", strings.Join(unused, ", "))
	}
	return closure.Packages, nil
}
