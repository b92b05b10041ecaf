package care

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/setup"
)

// RecipeDiff lists the differences between a recipe's tree and a release.
type RecipeDiff struct {
	Recipe string        `json:"recipe"`
	Since  string        `json:"since" doc:"version of the release"`
	Inputs []InputChange `json:"inputs"`
	Files  []FileChange  `json:"files"`
}

// InputChange is an input that was added, removed, or changed in version or content.
type InputChange struct {
	Was *input.Input `json:"was" doc:"null if it was added"`
	Is  *input.Input `json:"is" doc:"null if it was removed"`
}

// FileChange is a file or link that was added, removed or changed.
type FileChange struct {
	Was *manifest.Content `json:"was" doc:"null if it was added"`
	Is  *manifest.Content `json:"is" doc:"null if it was removed"`
}

// Diff builds one recipe's tree and compares it with a release: the last one of PREVIOUS, or the one in OUTPUT/VERSION/ARCH.
func Diff(ctx context.Context, o setup.Options, name string) (*RecipeDiff, error) {
	dir := o.Dir()
	if len(o.Previous) > 0 {
		dir = o.Previous[len(o.Previous)-1]
	}
	m, err := manifest.Read(dir)
	if err != nil {
		return nil, fmt.Errorf("%w; set PREVIOUS to the release to compare with", err)
	}
	explained, err := Show(ctx, o, name)
	if err != nil {
		return nil, err
	}
	return diffRecipe(name, m, explained), nil
}

func diffRecipe(name string, m *manifest.Manifest, e *oem.Explained) *RecipeDiff {
	d := &RecipeDiff{Recipe: name, Since: m.Version}
	was := map[string]input.Input{}
	for _, r := range m.Recipes {
		for _, input := range r.Inputs {
			if r.Name == name {
				was[input.Kind+" "+input.Name] = input
			}
		}
	}
	is := map[string]input.Input{}
	for _, input := range e.Resolved.Inputs() {
		is[input.Kind+" "+input.Name] = input
	}
	for _, key := range keys(was, is) {
		if before, after := find(was, key), find(is, key); before == nil || after == nil || *before != *after {
			d.Inputs = append(d.Inputs, InputChange{before, after})
		}
	}
	own, all := map[string]manifest.Content{}, map[string]manifest.Content{}
	for _, image := range m.Images {
		for _, content := range image.Contents {
			all[content.Path] = content // a file of several recipes may be listed under another one
			if content.Recipe == name {
				own[content.Path] = content
			}
		}
	}
	now := contentsOf(e)
	for path := range now {
		if known, there := all[path]; there {
			own[path] = known
		}
	}
	for _, path := range keys(own, now) {
		if before, after := find(own, path), find(now, path); before == nil || after == nil || !sameContent(*before, *after) {
			d.Files = append(d.Files, FileChange{before, after})
		}
	}
	return d
}

// contentsOf returns the content of images for a recipe's tree.
func contentsOf(e *oem.Explained) map[string]manifest.Content {
	now := map[string]manifest.Content{}
	for _, entry := range e.Tree {
		if _, dropped := e.InBase.Find(entry.Path); entry.Type != tree.Dir && !dropped {
			now[entry.Path] = manifest.Content{Path: entry.Path, Size: entry.Size, SHA256: entry.SHA256, Target: entry.Target}
		}
	}
	return now
}

func sameContent(a, b manifest.Content) bool { return a.SHA256 == b.SHA256 && a.Target == b.Target }

func keys[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

func find[V any](in map[string]V, key string) *V {
	if found, there := in[key]; there {
		return &found
	}
	return nil
}
