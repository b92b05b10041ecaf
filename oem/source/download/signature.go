package download

import (
	"context"
	"fmt"
	"io/fs"
	"path"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
)

// Found is a newly downloaded file.
type Found struct {
	Recipe    *recipe.Recipe
	Signature *recipe.Signature // configured in the recipe, or nil
	Path      string            // of the file, in the store
	Pin       lock.Pin
	Addresses []string
}

// Pins downloads and verifies the signature beside a file, if the recipe names one.
// It returns the pins of file and signature.
func (f Found) Pins(ctx context.Context, env *kind.Env) ([]lock.Pin, error) {
	s, pin := f.Signature, f.Pin
	if s == nil {
		return []lock.Pin{pin}, nil
	}
	var beside []string
	for _, address := range f.Addresses {
		beside = append(beside, address+s.Suffix)
	}
	var keys openpgp.EntityList
	if s.OpenPGP.Value != "" {
		name := path.Join(path.Dir(f.Recipe.File), s.OpenPGP.Value)
		keyring, err := fs.ReadFile(rooted.Files(env.Checkout), name)
		if err != nil {
			return nil, err
		}
		if keys, err = signature.ParseKeyring(name, keyring); err != nil {
			return nil, err
		}
	}
	seen, err := env.Store.Learn(ctx, fetch.Unpinned{
		URLs: beside, Max: signature.MaxLength,
		Also: func(path string) error { return signature.File(f.Path, path, s.Minisign, keys) },
	})
	if err != nil {
		return nil, fmt.Errorf("signature of %s: %w", pin.Name, err)
	}
	return []lock.Pin{pin, {
		Name: pin.Name + s.Suffix, Version: pin.Version, File: pin.File + s.Suffix,
		Size: lock.Size(seen.Size), Digest: lock.OfSHA256(seen.SHA256),
	}}, nil
}
