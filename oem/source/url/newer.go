package url

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/source/newer"
)

// Newer finds the newest version on the update page, and downloads its files for their digests.
func (u source) Newer(ctx context.Context, env *kind.Env) (*newer.Version, error) {
	if u.Update == nil {
		return nil, nil
	}
	page, err := env.Store.Latest(ctx, u.Update.Address.Value)
	if err != nil {
		return nil, err
	}
	var versions []string
	for _, match := range u.Update.Pattern.FindAllSubmatch(page.Content, -1) {
		versions = append(versions, string(match[1]))
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("nothing on %s matches %q; correct the pattern under update", u.Update.Address, u.Update.Pattern)
	}
	newest := newer.Highest(versions, u.Version, recipe.Pattern{}, newer.CompareTags)
	if newest == "" {
		return nil, nil
	}
	found := &newer.Version{Name: u.Address.Value, From: u.Version, To: newest, Edits: []newer.Edit{{Path: []any{"version"}, Value: newest}}}
	next := *u.URL
	next.Version = newest
	for _, key := range slices.Sorted(maps.Keys(u.SHA256)) {
		seen, err := env.Store.Learn(ctx, fetch.Unpinned{URLs: next.Addresses(arch.Arch(key))})
		if err != nil {
			return nil, fmt.Errorf("version %s: %w", newest, err)
		}
		found.Edits = append(found.Edits, newer.Edit{Path: []any{"sha256", key}, Value: seen.SHA256.String()})
	}
	return found, nil
}
