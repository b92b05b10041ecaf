package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/upstream/binpkg"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
)

// lookURL fetches the file, whose digest the recipe has, and its signature.
func (b *Builder) lookURL(ctx context.Context, r *recipe.Recipe, u *recipe.URL, a arch.Arch) ([]lock.Pin, error) {
	digest, _ := u.Digest(a)
	addresses := u.Addresses(a)
	file, err := b.Store.File(ctx, fetch.Want{URLs: addresses, SHA256: digest})
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
	return b.withSignature(ctx, r, u.Signature, file, pin, addresses)
}

// lookGitHub finds the asset and fetches it to learn its digest.
func (b *Builder) lookGitHub(ctx context.Context, r *recipe.Recipe, g *recipe.GitHub, a arch.Arch) ([]lock.Pin, error) {
	asset, err := b.GitHub.Asset(ctx, g.Repository.Value, g.Tag, g.AssetFor(a))
	if err != nil {
		return nil, err
	}
	address := b.GitHub.Server + "/" + asset.File
	seen, err := b.Store.Learn(ctx, fetch.Unseen{URLs: []string{address}, Size: asset.Size})
	if err != nil {
		return nil, err
	}
	pin := lock.Pin{Name: asset.Name, Version: g.Tag, File: asset.File, Size: lock.Size(seen.Size), Digest: lock.OfSHA256(seen.SHA256)}
	return b.withSignature(ctx, r, g.Signature, seen.Path, pin, []string{address})
}

// withSignature fetches the signature beside a file, if the recipe names one, and checks it.
// It returns the file's pin and the signature's.
func (b *Builder) withSignature(ctx context.Context, r *recipe.Recipe, s *recipe.Signature, file string, pin lock.Pin, addresses []string) ([]lock.Pin, error) {
	if s == nil {
		return []lock.Pin{pin}, nil
	}
	var beside []string
	for _, address := range addresses {
		beside = append(beside, address+s.Suffix)
	}
	seen, err := b.Store.Learn(ctx, fetch.Unseen{
		URLs: beside, Max: signature.MaxLength,
		Also: func(path string) error { return signature.File(file, path, s.Minisign, b.beside(r, s.OpenPGP.Value)) },
	})
	if err != nil {
		return nil, fmt.Errorf("signature of %s: %w", pin.Name, err)
	}
	return []lock.Pin{pin, {
		Name: pin.Name + s.Suffix, Version: pin.Version, File: pin.File + s.Suffix,
		Size: lock.Size(seen.Size), Digest: lock.OfSHA256(seen.SHA256),
	}}, nil
}

// EnvBinpkgs names the address of a mirror of Flatcar's binary packages; boards/ is below it.
const EnvBinpkgs = "FLATCAR_BINPKGS"

func (b *Builder) binpkgs() (string, error) {
	if b.Binpkgs == "" {
		return "", fmt.Errorf("nothing says where Flatcar's binary packages are; set %s to the address that boards/ is below", EnvBinpkgs)
	}
	return strings.TrimSuffix(b.Binpkgs, "/"), nil
}

// lookBinpkg reads the release's index, and fetches the packages named and what they need beyond the base to learn their digests.
func (b *Builder) lookBinpkg(ctx context.Context, p *recipe.Binpkg, a arch.Arch) ([]lock.Pin, error) {
	mirror, err := b.binpkgs()
	if err != nil {
		return nil, err
	}
	dir := path.Join("boards", string(a)+"-usr", p.Release, "pkgs")
	found, err := b.binpkgClosure(ctx, mirror+"/"+dir, p, a)
	if err != nil {
		return nil, err
	}
	var pins []lock.Pin
	for _, one := range found {
		file := path.Join(dir, one.File)
		seen, err := b.Store.Learn(ctx, fetch.Unseen{URLs: []string{mirror + "/" + file}, Size: one.Size, Also: one.CheckSHA1})
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", one.CPN(), err)
		}
		pins = append(pins, lock.Pin{
			Name: one.CPN(), Version: one.Version, File: file, Size: lock.Size(seen.Size), Digest: lock.OfSHA256(seen.SHA256),
		})
	}
	return pins, nil
}

func (b *Builder) binpkgClosure(ctx context.Context, address string, p *recipe.Binpkg, a arch.Arch) ([]*binpkg.Package, error) {
	document, err := b.Store.Latest(ctx, address+"/Packages")
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
	have, err := binpkg.ReadInstalled(b.Base.Gentoo)
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
