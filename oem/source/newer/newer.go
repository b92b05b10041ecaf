// Package bump looks up whether upstream has newer versions of what a recipe names, and writes them into the recipe.
//
// Debian packages are not looked up here: which version of them is newest, the lock file says when it is written anew.
package bump

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/yamledit"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

// Finder is where newer versions are looked up.
type Finder struct {
	Go     *build.Go
	GitHub *github.Client
	Store  *fetch.Store
}

// Newer is a newer version, and what has to change in a recipe for it.
type Newer struct {
	Name     string // module, repository or file
	From, To string // versions

	edits []edit
}

// edit is one value of a source's kind.
type edit struct {
	path  []any
	value string
}

// Find looks for a newer version of a source. It returns nil when there is none or the source has none of its own.
func (f *Finder) Find(ctx context.Context, source recipe.Source) (*Newer, error) {
	switch {
	case source.Go != nil:
		return f.module(ctx, source.Go)
	case source.GitHub != nil:
		return f.release(ctx, source.GitHub)
	case source.URL != nil && source.URL.Update != nil:
		return f.listing(ctx, source.URL)
	}
	return nil, nil
}

// Apply writes a newer version into the definition of a recipe, whose source at this position it is for.
func (n *Newer) Apply(definition []byte, position int, kind string) ([]byte, error) {
	var err error
	for _, e := range n.edits {
		if definition, err = yamledit.Set(definition, e.value, append([]any{"sources", position, kind}, e.path...)...); err != nil {
			return nil, err
		}
	}
	return definition, nil
}

func (f *Finder) module(ctx context.Context, m *recipe.Go) (*Newer, error) {
	versions, err := f.Go.Versions(ctx, m.Module)
	if err != nil {
		return nil, err
	}
	newest := highest(versions, m.Version, m.Update, func(a, b string) int {
		if semver.Prerelease(a) != "" && semver.Prerelease(b) == "" {
			return -1 // also of a lower version: a preview is taken only by who has one
		}
		return semver.Compare(a, b)
	})
	if newest == "" {
		return nil, nil
	}
	sum, err := f.Go.Sum(ctx, m.Module, newest)
	if err != nil {
		return nil, err
	}
	return &Newer{m.Module, m.Version, newest, []edit{{[]any{"version"}, newest}, {[]any{"sum"}, sum}}}, nil
}

func (f *Finder) release(ctx context.Context, g *recipe.GitHub) (*Newer, error) {
	tags, err := f.GitHub.Tags(ctx, g.Repository.Value)
	if err != nil {
		return nil, err
	}
	newest := highest(tags, g.Tag, g.Update, compareTags)
	if newest == "" {
		return nil, nil
	}
	return &Newer{g.Repository.Value, g.Tag, newest, []edit{{[]any{"tag"}, newest}}}, nil
}

// listing finds versions in a page, and fetches the newest version's files for their digests.
func (f *Finder) listing(ctx context.Context, u *recipe.URL) (*Newer, error) {
	page, err := f.Store.Latest(ctx, u.Update.Address.Value)
	if err != nil {
		return nil, err
	}
	var versions []string
	for _, match := range u.Update.Pattern.FindAllSubmatch(page.Content, -1) {
		versions = append(versions, string(match[1]))
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("nothing in %s matches %q; wanted a pattern that finds versions", u.Update.Address, u.Update.Pattern)
	}
	newest := highest(versions, u.Version, recipe.Pattern{}, compareTags)
	if newest == "" {
		return nil, nil
	}
	found := &Newer{u.Address.Value, u.Version, newest, []edit{{[]any{"version"}, newest}}}
	next := *u
	next.Version = newest
	for _, key := range slices.Sorted(maps.Keys(u.SHA256)) {
		seen, err := f.Store.Learn(ctx, fetch.Unseen{URLs: next.Addresses(arch.Arch(key))})
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", newest, err)
		}
		found.edits = append(found.edits, edit{[]any{"sha256", key}, seen.SHA256.String()})
	}
	return found, nil
}

// highest returns the highest version that is above the current one and matches the pattern, or nothing.
func highest(versions []string, current string, pattern recipe.Pattern, compare func(a, b string) int) string {
	best := ""
	for _, version := range versions {
		if pattern.Regexp != nil && !pattern.MatchString(version) || !plain(version) || compare(version, current) <= 0 {
			continue
		}
		if best == "" || compare(version, best) > 0 {
			best = version
		}
	}
	return best
}

// plain refuses what no version has, since versions become parts of files and addresses.
func plain(version string) bool {
	return version != "" && !strings.Contains(version, "..") && !strings.ContainsFunc(version, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune(".+-_~", r)
	})
}

// compareTags orders versions as Debian does, with v or without.
func compareTags(a, b string) int {
	return debian.CompareVersions(strings.TrimPrefix(a, "v"), strings.TrimPrefix(b, "v"))
}
