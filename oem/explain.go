package oem

import (
	"context"
	"errors"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Explained is the result of one recipe, without the recipes that it needs.
type Explained struct {
	build.Explanation
	Resolved *build.Resolved
	Packed   size.Bytes // of the tree packed alone
	Wrong    error      // what a build of the recipe would fail for
	InBase   tree.Tree  // files of the tree that are in no image, since the base has them identically
}

// Explain builds one recipe's tree and describes its inputs and what was left out.
func (f *Factory) Explain(ctx context.Context, r *recipe.Recipe) (*Explained, error) {
	if !r.Supports(f.Base.Arch) {
		return nil, fmt.Errorf("%s is not for %s; its arches are %v", r.File, f.Base.Arch, r.Arches)
	}
	resolved, err := f.Builder.Resolve(ctx, r, f.Base.Arch)
	if err != nil {
		return nil, err
	}
	explanation, err := f.Builder.Explain(ctx, resolved)
	if err != nil {
		return nil, err
	}
	packed, err := f.Packer.Image(ctx, explanation.Tree, rung.Default)
	if err != nil {
		return nil, err
	}
	e := &Explained{Explanation: explanation, Resolved: resolved, Packed: packed.Size}
	e.Wrong = errors.Join(explanation.Lacks, f.checkSize(ctx, resolved, explanation.Tree))
	for _, entry := range e.Tree {
		if below, there := f.Base.Usr.Find(entry.Path); there && entry.Type != tree.Dir && entry.Equal(below) {
			e.InBase = append(e.InBase, entry)
		}
	}
	return e, nil
}
