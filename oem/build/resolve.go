package build

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/arch"
	"github.com/flatcar/oem-sysext/oem/debian"
	"github.com/flatcar/oem-sysext/oem/recipe"
	"github.com/flatcar/oem-sysext/oem/store"
)

// Resolve decides what is open in a recipe: which packages its deb sources stand for.
func (b *Builder) Resolve(ctx context.Context, r *recipe.Recipe, a arch.Arch) (*Resolved, error) {
	resolved := &Resolved{Recipe: r, Arch: a}
	for _, source := range r.Sources {
		if source.Deb == nil {
			continue
		}
		debs, err := b.closure(ctx, source.Deb, a)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", r.File, source.Deb.Line, err)
		}
		resolved.Debs = append(resolved.Debs, debs...)
	}
	var err error
	resolved.Beside, err = b.scanBeside(r)
	return resolved, err
}

// closure returns the packages named and what they need beyond the base.
func (b *Builder) closure(ctx context.Context, d *recipe.Deb, a arch.Arch) ([]debian.Package, error) {
	release, err := b.Archive.Release(ctx, d.Suite, string(a))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range d.Packages {
		names = append(names, name.Value)
	}
	inputs := []any{release.Fingerprint, b.Base.StatusDigest(), names, d.Without}
	always := func([]debian.Package) bool { return true }
	return store.Memo(b.Results, "closure", inputs, always, func() ([]debian.Package, error) {
		return b.solve(ctx, release, names, d.Without)
	})
}

func (b *Builder) solve(ctx context.Context, release *debian.Release, names, without []string) ([]debian.Package, error) {
	have, err := debian.ParseStatus(bytes.NewReader(b.Base.Status))
	if err != nil {
		return nil, err
	}
	packages, err := release.Packages(ctx)
	if err != nil {
		return nil, err
	}
	closure, err := packages.Closure(debian.Ask{Want: names, Have: have, Without: without})
	if err != nil {
		return nil, err
	}
	if len(closure.Unused) > 0 {
		return nil, fmt.Errorf("without: lists %s, which nothing needs; remove it", strings.Join(closure.Unused, ", "))
	}
	return closure.Packages, nil
}
