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
	Pruned []Pruned // by pattern: first the patterns for every recipe, then the recipe's own
	Lacks  error    // required files that are missing in the tree
}

// Pruned is what one pattern leaves out.
type Pruned struct {
	Glob  recipe.Glob
	Own   bool      // a pattern of the recipe, not one for every recipe
	Tops  []string  // paths that match the pattern themselves, in order
	Files tree.Tree // all files and links left out
}

// Explain builds the recipe's tree, without the cache, and reports what each pattern leaves out.
// Missing required files are part of the explanation, not an error.
func (b *Builder) Explain(ctx context.Context, r *Resolved) (Explanation, error) {
	scanned, err := b.scan(ctx, r)
	if err != nil {
		return Explanation{}, err
	}
	made := finish(scanned, r.Recipe)
	laid, err := b.Base.Lay(made)
	return Explanation{Tree: laid, Pruned: explainPruning(scanned, r.Recipe), Lacks: b.checkRequires(made, r.Recipe)}, err
}

// explainPruning returns the paths left out, by pattern. Patterns for every recipe are omitted if they match nothing.
func explainPruning(scanned tree.Tree, r *recipe.Recipe) []Pruned {
	by := pruned(scanned, slices.Concat(never, r.Prune))
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
