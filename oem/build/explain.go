package build

import (
	"context"
	"path"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Explanation is a recipe's tree and what was left out of it.
type Explanation struct {
	Tree   tree.Tree
	Pruned []Pruned // by pattern: those that hold for every recipe, then the recipe's own ones
	Lacks  error    // what the recipe requires and the tree does not have
}

// Pruned is what one pattern leaves out.
type Pruned struct {
	Glob  recipe.Glob
	Own   bool      // the recipe's, not one that holds for every recipe
	Tops  []string  // paths that the pattern matches itself, in their order
	Files tree.Tree // files and links that are left out with them
}

// Explain makes the recipe's tree, whether or not it was made before, and tells what each pattern leaves out of it.
// That the recipe lacks what it requires is part of the explanation.
func (b *Builder) Explain(ctx context.Context, r *Resolved) (Explanation, error) {
	scanned, err := b.scan(ctx, r)
	if err != nil {
		return Explanation{}, err
	}
	made := finish(scanned, r.Recipe)
	laid, err := b.Base.Lay(made)
	return Explanation{Tree: laid, Pruned: explainPruning(scanned, r.Recipe), Lacks: checkRequires(made, r.Recipe)}, err
}

// explainPruning leaves out patterns for every recipe that match nothing in this one.
func explainPruning(scanned tree.Tree, r *recipe.Recipe) []Pruned {
	by := pruned(scanned.Under("/usr"), slices.Concat(never, r.Prune))
	var found []Pruned
	for i, pattern := range slices.Concat(never, r.Prune) {
		p := Pruned{Glob: pattern, Own: i >= len(never)}
		for _, e := range scanned {
			if by[e.Path] != pattern {
				continue
			}
			if by[path.Dir(e.Path)] == "" {
				p.Tops = append(p.Tops, e.Path)
			}
			if e.Type != tree.Dir {
				p.Files = append(p.Files, e)
			}
		}
		if p.Own || len(p.Tops) > 0 {
			found = append(found, p)
		}
	}
	return found
}
