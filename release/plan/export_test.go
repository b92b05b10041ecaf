package plan

import (
	"context"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// LargestFiles is how many files an error names.
const LargestFiles = largestFiles

// LargestSizes returns the sizes of the files that an error names.
func LargestSizes(e *OverBudgetError) []size.Bytes {
	var sizes []size.Bytes
	for _, f := range e.Largest {
		sizes = append(sizes, f.size)
	}
	return sizes
}

// Grown returns the recipes that grew, and by how much.
func Grown(staged []oem.Staged, last *manifest.Manifest) map[string]size.Bytes {
	by := map[string]size.Bytes{}
	for _, g := range grown(staged, last) {
		by[g.name] = g.by
	}
	return by
}

// Fit packs what another plan staged, anew.
func (p *Planner) Fit(ctx context.Context, like *Planned) (*Planned, error) {
	s, err := p.searchLike(ctx, like)
	if err != nil {
		return nil, err
	}
	return s.plan(ctx)
}

// FitInto is Fit with another budget than those of images.
func (p *Planner) FitInto(ctx context.Context, like *Planned, b budget.Budget) (*Planned, error) {
	s, err := p.searchLike(ctx, like)
	if err != nil {
		return nil, err
	}
	s.planner.Budgets = []budget.Budget{b}
	return s.plan(ctx)
}

func (p *Planner) searchLike(ctx context.Context, like *Planned) (*search, error) {
	factory, err := p.Bench.Factory(p.Base.Target, p.Base.Epoch)
	if err != nil {
		return nil, err
	}
	return p.newSearch(ctx, factory, like.search.given)
}

// Cost returns what an image takes of /usr.
func (p *Planner) Cost(ctx context.Context, packed pack.Image) (size.Bytes, error) {
	s, err := p.newScale(ctx)
	if err != nil {
		return 0, err
	}
	return s.cost(ctx, packed)
}

// Weigh is Cost without the cache.
func (p *Planner) Weigh(ctx context.Context, packed pack.Image) (size.Bytes, error) {
	s, err := p.newScale(ctx)
	if err != nil {
		return 0, err
	}
	return s.weigh(ctx, packed)
}
