package compose

import (
	"context"
	"fmt"
	"os"
	"path"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// fetch returns the path of an extension's verified image, and its input with the name.
func (c *Composer) fetch(ctx context.Context, x *profiles.Extension) (file string, from input.Input, err error) {
	from = input.Input{Kind: "file", Name: path.Base(x.File.Value), Version: x.Version.Value}
	switch {
	case x.URL != nil:
		from.Kind, from.Name = "url", path.Base(fetch.Redact(c.address(x)))
		file, err = c.fromURL(ctx, x)
	case x.GitHub != nil:
		from.Kind = "github"
		file, from.Name, err = c.fromGitHub(ctx, x)
	default:
		file = c.choice.Profile.Path(x.File.Value)
	}
	return file, from, err
}

func (c *Composer) address(x *profiles.Extension) string { return x.AddressFor(c.base.Arch) }

func (c *Composer) fromURL(ctx context.Context, x *profiles.Extension) (string, error) {
	address := c.address(x)
	wanted, pinned := x.URL.SHA256[c.base.Arch]
	if !pinned && (c.factory.Builder.Locked || x.URL.Signature == nil) {
		return "", fmt.Errorf("has no sha256 for %s, so %s cannot be verified; add it to the profile", c.base.Arch, fetch.Redact(address))
	}
	if pinned {
		file, err := c.bench.Store.File(ctx, fetch.Want{URLs: []string{address}, SHA256: wanted})
		if err != nil || x.URL.Signature == nil {
			return file, err
		}
		return file, c.checkSignature(ctx, x.URL.Signature, address, file)
	}
	seen, err := c.bench.Store.Learn(ctx, fetch.Unpinned{
		URLs: []string{address}, Also: func(file string) error { return c.checkSignature(ctx, x.URL.Signature, address, file) },
	})
	return seen.Path, err
}

// maxSums is the maximum length of a file of sums.
const maxSums = size.MiB

// fromGitHub finds the image among the assets of a release, and its digest in the profile or in the asset with the sums.
func (c *Composer) fromGitHub(ctx context.Context, x *profiles.Extension) (file, name string, err error) {
	tag, asset, sumsAsset := x.TagAndAssets(c.base.Arch)
	hub := c.factory.Builder.GitHub
	found, err := hub.Asset(ctx, x.GitHub.Repository.Value, tag, asset)
	if err != nil {
		return "", "", err
	}
	wanted, pinned := x.GitHub.SHA256[c.base.Arch]
	if !pinned {
		if c.factory.Builder.Locked {
			return "", "", fmt.Errorf("has no sha256 for %s, and LOCKED forbids looking it up; add it to the profile", c.base.Arch)
		}
		list, err := hub.Asset(ctx, x.GitHub.Repository.Value, tag, sumsAsset)
		if err != nil {
			return "", "", err
		}
		address := hub.Address(list.File)
		seen, err := c.bench.Store.Learn(ctx, fetch.Unpinned{URLs: []string{address}, Max: maxSums, Also: func(file string) error {
			if x.GitHub.Signature == nil {
				return nil
			}
			return c.checkSignature(ctx, x.GitHub.Signature, address, file)
		}})
		if err != nil {
			return "", "", err
		}
		sumsFile, err := os.Open(seen.Path)
		if err != nil {
			return "", "", err
		}
		wanted, err = sums.Find(sumsFile, found.Name)
		sumsFile.Close()
		if err != nil {
			return "", "", fmt.Errorf("%s of release %s: %w", list.Name, tag, err)
		}
	}
	file, err = c.bench.Store.File(ctx, fetch.Want{URLs: []string{hub.Address(found.File)}, SHA256: wanted, Size: found.Size})
	return file, found.Name, err
}

// checkSignature checks the signature beside a file.
func (c *Composer) checkSignature(ctx context.Context, s *recipe.Signature, address, file string) error {
	seen, err := c.bench.Store.Learn(ctx, fetch.Unpinned{URLs: []string{address + s.Suffix}, Max: signature.MaxLength})
	if err != nil {
		return err
	}
	var keys openpgp.EntityList
	if s.OpenPGP.Value != "" {
		if keys, err = signature.ReadKeyring(c.choice.Profile.Path(s.OpenPGP.Value)); err != nil {
			return err
		}
	}
	return signature.File(file, seen.Path, s.Minisign, keys)
}
