// Package binpkg is the source of Flatcar's binary packages, with their dependencies that the base lacks.
package binpkg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/source/download"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/upstream/binpkg"
)

// Of returns a recipe's source if it is of this kind, else nil.
func Of(_ *recipe.Recipe, s recipe.Source) kind.Source {
	if s.Binpkg == nil {
		return nil
	}
	return source{s.Binpkg}
}

type source struct{ *recipe.Binpkg }

// NeedsLock marks a source that needs a lock file: Flatcar's package indexes are not signed.
func (source) NeedsLock() {}

// EnvBinpkgs names the address of a mirror of Flatcar's binary packages; boards/ is below it.
const EnvBinpkgs = "FLATCAR_BINPKGS"

func mirror(env *kind.Env) (string, error) {
	if env.Binpkgs == "" {
		return "", fmt.Errorf("no mirror of Flatcar's binary packages; set %s to an address with boards/ below it", EnvBinpkgs)
	}
	return strings.TrimSuffix(env.Binpkgs, "/"), nil
}

// Look reads the release's index, and downloads the packages and the dependencies that the base lacks for their digests.
func (p source) Look(ctx context.Context, env *kind.Env, a arch.Arch) ([]lock.Pin, error) {
	address, err := mirror(env)
	if err != nil {
		return nil, err
	}
	dir := path.Join("boards", string(a)+"-usr", p.Release, "pkgs")
	found, err := p.closure(ctx, env, address+"/"+dir, a)
	if err != nil {
		return nil, err
	}
	var pins []lock.Pin
	for _, one := range found {
		file := path.Join(dir, one.File)
		seen, err := env.Store.Learn(ctx, fetch.Unpinned{URLs: []string{address + "/" + file}, Size: one.Size, Also: one.CheckSHA1})
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", one.CPN(), err)
		}
		pins = append(pins, lock.Pin{
			Name: one.CPN(), Version: one.Version, File: file, Size: lock.Size(seen.Size), Digest: lock.OfSHA256(seen.SHA256),
		})
	}
	return pins, nil
}

func (p source) closure(ctx context.Context, env *kind.Env, address string, a arch.Arch) ([]*binpkg.Package, error) {
	document, err := env.Store.Latest(ctx, address+"/Packages")
	if err != nil {
		return nil, err
	}
	index, err := binpkg.ReadIndex(io.Reader(bytes.NewReader(document.Content)))
	if err == nil && index.Arch != string(a) {
		err = fmt.Errorf("is for %q; wanted %s", index.Arch, a)
	}
	if err != nil {
		return nil, fmt.Errorf("index of %s at %s: %w", p.Release, fetch.Redact(address), err)
	}
	have, err := binpkg.ReadInstalled(env.Base.Gentoo)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range p.Packages {
		names = append(names, name.Value)
	}
	found, err := index.Closure(binpkg.Ask{Want: names, Have: have, Without: p.Without})
	return found, errors.Join(err, document.Keep())
}

// Unpack unpacks the packages.
func (p source) Unpack(ctx context.Context, env *kind.Env, pins []lock.Pin, to kind.Place) error {
	address, err := mirror(env)
	if err != nil {
		return err
	}
	for _, pin := range pins {
		file, err := env.Store.File(ctx, download.Want([]string{address + "/" + pin.File}, pin))
		if err == nil {
			err = binpkg.Unpack(file, binpkg.Identity{CPN: pin.Name, Version: pin.Version, Arch: to.Arch}, to.Root, to.Keep)
		}
		if err != nil {
			return kind.About(pin, err)
		}
	}
	return nil
}
