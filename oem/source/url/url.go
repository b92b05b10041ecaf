// Package url is the source of files at addresses.
package url

import (
	"context"
	"os"
	"path"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/source/download"
	"github.com/flatcar/oem-sysext/oem/source/kind"
)

// Of returns a recipe's source if it is of this kind, else nil.
func Of(r *recipe.Recipe, s recipe.Source) kind.Source {
	if s.URL == nil {
		return nil
	}
	return source{s.URL, r}
}

type source struct {
	*recipe.URL
	recipe *recipe.Recipe
}

// Agrees compares the pin with the digest in the recipe.
func (u source) Agrees(a arch.Arch, pins []lock.Pin) bool {
	want, _ := u.Digest(a)
	return len(pins) > 0 && pins[0].SHA256() == want
}

// ask downloads the file from an address that was not asked before, whatever the digest: the file of another version, whose digest has been
// forgotten in the recipe, may be in the store.
func (u source) ask(ctx context.Context, env *kind.Env, addresses []string, want digest.SHA256) error {
	_, err := store.Memo(ctx, env.Results.Step("asked", []any{addresses, want}), store.Nothing, func() (bool, error) {
		_, err := env.Store.File(ctx, fetch.Want{URLs: addresses, SHA256: want, Fresh: true})
		return err == nil, err
	})
	return err
}

// Look downloads the file, by the digest in the recipe, and its signature.
func (u source) Look(ctx context.Context, env *kind.Env, a arch.Arch) ([]lock.Pin, error) {
	digest, _ := u.Digest(a)
	addresses := u.Addresses(a)
	if err := u.ask(ctx, env, addresses, digest); err != nil {
		return nil, err
	}
	file, err := env.Store.File(ctx, fetch.Want{URLs: addresses, SHA256: digest})
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	pin := lock.Pin{
		Name: path.Base(addresses[0]), Version: u.Version, File: addresses[0], Size: lock.Size(info.Size()), Digest: lock.OfSHA256(digest),
	}
	return download.Found{Recipe: u.recipe, Signature: u.Signature, Path: file, Pin: pin, Addresses: addresses}.Pins(ctx, env)
}

// Unpack unpacks the file. A second pin is its signature, which Look verified.
func (u source) Unpack(ctx context.Context, env *kind.Env, pins []lock.Pin, to kind.Place) error {
	file := download.File{Pin: pins[0], Addresses: u.Addresses(to.Arch), Unpack: u.URL.Unpack}
	return kind.About(file.Pin, file.LayOut(ctx, env, to))
}
