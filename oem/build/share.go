package build

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Share is how much of a recipe's tree one of its inputs takes, unpacked.
type Share struct {
	Name, Version string
	Size          size.Bytes
	Elsewhere     string // which other recipe has the input as well, and what to do if it is made of it; empty if none has
}

func (s Share) String() string {
	text := fmt.Sprintf("%s %s %v", s.Name, s.Version, s.Size)
	if s.Elsewhere != "" {
		text += " (" + s.Elsewhere + ")"
	}
	return text
}

// Shares returns what takes the space in a recipe's tree, the largest first. What no file was unpacked from is left out.
func (b *Builder) Shares(ctx context.Context, r *Resolved, t tree.Tree) ([]Share, error) {
	others, err := b.others(r)
	if err != nil {
		return nil, err
	}
	var shares []Share
	for i, pins := range r.Pins {
		for _, pin := range pins {
			names, err := b.namesOf(ctx, r, i, pin)
			if err != nil {
				return nil, err
			}
			share := Share{Name: pin.Name, Version: pin.Version, Size: sizeOf(t, names, privateDir(r.Recipe.Name.Value)), Elsewhere: others[pin.Name]}
			if share.Size > 0 {
				shares = append(shares, share)
			}
		}
	}
	slices.SortStableFunc(shares, func(a, b Share) int { return cmp.Compare(b.Size, a.Size) })
	return shares, nil
}

// namesOf unpacks one input by itself and returns the paths that its files have before the layout of the base is known.
func (b *Builder) namesOf(ctx context.Context, r *Resolved, at int, pin lock.Pin) (map[string]bool, error) {
	root, err := newRoot(b.Scratch)
	if err != nil {
		return nil, err
	}
	defer removeRoot(root)
	names := map[string]bool{}
	keep := func(name string) bool {
		if !keeps(r.Recipe, name) {
			return false
		}
		names[moved(r.Recipe, "/"+name)] = true
		return true
	}
	to := kind.Place{Root: root, Arch: r.Arch, Keep: keep, KeepNeeded: keep, Prunes: func(name string) bool { return prunes(r.Recipe, "/"+name) }}
	return names, b.kinds().Of(r.Recipe, r.Recipe.Sources[at]).Unpack(ctx, b.Env(), []lock.Pin{pin}, to)
}

// moved is where a recipe's move: leads a path.
func moved(r *recipe.Recipe, name string) string {
	for from, to := range r.Move {
		if below, is := strings.CutPrefix(name, from); is && (below == "" || below[0] == '/') {
			return string(to) + below
		}
	}
	return name
}

// sizeOf sums the files of a tree that are among the names, or are libraries of one of the names that were moved to a private directory.
func sizeOf(t tree.Tree, names map[string]bool, private string) size.Bytes {
	bases := map[string]bool{}
	for name := range names {
		bases[path.Base(name)] = true
	}
	var sum size.Bytes
	for _, e := range t {
		library := path.Dir(e.Path) == private && bases[path.Base(e.Path)]
		if names[e.Path] || library {
			sum += size.Bytes(e.Size)
		}
	}
	return sum
}

// others says of each input of recipes that a recipe does not need, and that do not need it, which recipe has it. One that asks for the
// input by its name comes before those that only depend on it.
func (b *Builder) others(r *Resolved) (map[string]string, error) {
	all, mistakes := recipe.Load(rooted.Files(b.Checkout), "recipes")
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	has, named := map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		other := all[name]
		own := func(q *recipe.Recipe) bool { return q.Name.Value == r.Recipe.Name.Value }
		if slices.ContainsFunc(all.With(name), own) || slices.Contains(all.With(r.Recipe.Name.Value), other) {
			continue
		}
		locked, err := b.ReadLock(other)
		if err != nil {
			return nil, err
		}
		for _, one := range other.For(b.On()).Sources {
			pins, _ := locked.Find(b.kinds().Of(other, one).Question(needsLibraries(b.Base)), b.Base.Name, r.Arch)
			for _, pin := range pins {
				if has[pin.Name] == "" {
					has[pin.Name] = "also in recipe " + name
				}
			}
			if one.Deb != nil {
				for _, text := range one.Deb.Packages {
					named[text.Value] = fmt.Sprintf("recipe %s has it: needs: [%s], and %s in without:", name, name, text)
				}
			}
		}
	}
	maps.Copy(has, named)
	return has, nil
}
