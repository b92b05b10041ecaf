package release

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// fetch returns where the image of an extension lies, after something vouched for it, and what it is called.
func (j *judge) fetch(ctx context.Context, x *profiles.Extension) (file string, input build.Input, err error) {
	input = build.Input{Kind: "file", Name: path.Base(x.File.Value), Version: x.Version.Value}
	switch {
	case x.URL != nil:
		input.Kind, input.Name = "url", path.Base(fetch.Redact(j.address(x)))
		file, err = j.fromURL(ctx, x)
	case x.GitHub != nil:
		input.Kind = "github"
		file, input.Name, err = j.fromGitHub(ctx, x)
	default:
		file = j.profile.Path(x.File.Value)
	}
	return file, input, err
}

func (j *judge) address(x *profiles.Extension) string { return x.AddressFor(j.Arch) }

func (j *judge) fromURL(ctx context.Context, x *profiles.Extension) (string, error) {
	address := j.address(x)
	wanted, pinned := x.URL.SHA256[j.Arch]
	if !pinned && (j.Locked || x.URL.Signature == nil) {
		return "", fmt.Errorf("has no sha256 for %s, which vouches for %s", j.Arch, fetch.Redact(address))
	}
	if pinned {
		file, err := j.store.File(ctx, fetch.Want{URLs: []string{address}, SHA256: wanted})
		if err != nil || x.URL.Signature == nil {
			return file, err
		}
		return file, j.signed(ctx, x.URL.Signature, address, file)
	}
	seen, err := j.store.Learn(ctx, fetch.Unseen{
		URLs: []string{address}, Also: func(file string) error { return j.signed(ctx, x.URL.Signature, address, file) },
	})
	return seen.Path, err
}

// maxSums is how long a file of sums may be.
const maxSums = size.MiB

// fromGitHub finds the image among the assets of a release. The sums that are beside it have its digest.
func (j *judge) fromGitHub(ctx context.Context, x *profiles.Extension) (file, name string, err error) {
	tag, asset, sums := x.TagAndAssets(j.Arch)
	hub := j.factory.Builder.GitHub
	found, err := hub.Asset(ctx, x.GitHub.Repository.Value, tag, asset)
	if err != nil {
		return "", "", err
	}
	wanted, pinned := x.GitHub.SHA256[j.Arch]
	if !pinned {
		if j.Locked {
			return "", "", fmt.Errorf("has no sha256 for %s; LOCKED takes nothing that is looked up", j.Arch)
		}
		list, err := hub.Asset(ctx, x.GitHub.Repository.Value, tag, sums)
		if err != nil {
			return "", "", err
		}
		address := hub.Server + "/" + list.File
		seen, err := j.store.Learn(ctx, fetch.Unseen{URLs: []string{address}, Max: maxSums, Also: func(file string) error {
			if x.GitHub.Signature == nil {
				return nil
			}
			return j.signed(ctx, x.GitHub.Signature, address, file)
		}})
		if err != nil {
			return "", "", err
		}
		if wanted, err = sumOf(seen.Path, found.Name); err != nil {
			return "", "", fmt.Errorf("%s of release %s: %w", list.Name, tag, err)
		}
	}
	file, err = j.store.File(ctx, fetch.Want{URLs: []string{hub.Server + "/" + found.File}, SHA256: wanted, Size: found.Size})
	return file, found.Name, err
}

// sumOf returns a file's digest from a list as sha256sum writes it.
func sumOf(list, name string) (digest.SHA256, error) {
	f, err := os.Open(list)
	if err != nil {
		return digest.SHA256{}, err
	}
	defer f.Close()
	found := digest.SHA256{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		sum, file, _ := strings.Cut(lines.Text(), " ")
		if strings.TrimLeft(file, " *") != name {
			continue
		}
		d, err := digest.Parse(sum)
		if err != nil {
			return d, err
		}
		if !found.IsZero() && found != d {
			return d, fmt.Errorf("two sums of %s", name)
		}
		found = d
	}
	if found.IsZero() && lines.Err() == nil {
		return found, fmt.Errorf("no sum of %s", name)
	}
	return found, lines.Err()
}

// signed checks the signature beside a file.
func (j *judge) signed(ctx context.Context, s *recipe.Signature, address, file string) error {
	seen, err := j.store.Learn(ctx, fetch.Unseen{URLs: []string{address + s.Suffix}, Max: signature.MaxLength})
	if err != nil {
		return err
	}
	return signature.File(file, seen.Path, s.Minisign, j.profile.Path(s.OpenPGP.Value))
}
