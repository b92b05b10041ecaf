package oem

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Recipe reads all recipes of a checkout and returns the named one, whether or not a platform uses it.
func Recipe(checkout fs.FS, name string) (*recipe.Recipe, error) {
	recipes, mistakes := recipe.Load(checkout, "recipes")
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	if r := recipes[name]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("no recipe %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(recipes)), ", "))
}

// Explained is what one recipe makes of its sources, without the recipes that it needs.
type Explained struct {
	build.Explanation
	Resolved *build.Resolved
	Packed   size.Bytes // of the tree, alone
	InBase   tree.Tree  // files of the tree that no image has, since the base has them identically
}

// Explain makes one recipe's tree and tells what it is made of and what was left out.
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
	packed, err := f.Packer.Image(ctx, explanation.Tree, pack.Default)
	if err != nil {
		return nil, err
	}
	e := &Explained{Explanation: explanation, Resolved: resolved, Packed: packed.Size}
	for _, entry := range e.Tree {
		if below, there := f.Base.Usr.Find(entry.Path); there && entry.Type != tree.Dir && entry.Equal(below) {
			e.InBase = append(e.InBase, entry)
		}
	}
	return e, nil
}

// Print writes the explanation for people.
func (e *Explained) Print(out io.Writer) error {
	r := e.Resolved.Recipe
	p := printer{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	p.line("%s for %s, from %s", r.Name, e.Resolved.Arch, r.File)
	p.line("packed alone %v of at most %v", e.Packed, r.MaxSize)
	p.inputs(e.Resolved.Inputs())
	p.section("The tree: %d files, %v", e.Tree.Files(), e.Tree.Size())
	for _, entry := range e.Tree {
		p.entry(entry)
	}
	if len(e.InBase) > 0 {
		p.section("Left out of every image, as the base has them: %d files, %v", e.InBase.Files(), e.InBase.Size())
		for _, entry := range e.InBase {
			p.entry(entry)
		}
	}
	p.pruned(e.Pruned)
	if e.Lacks != nil {
		p.section("Wrong:")
		p.line("  %v", e.Lacks)
	}
	return p.Flush()
}

type printer struct{ *tabwriter.Writer }

func (p printer) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p printer) section(format string, args ...any) { p.line("\n"+format, args...) }

func (p printer) inputs(inputs []build.Input) {
	p.section("Inputs: %d", len(inputs))
	for _, input := range inputs {
		p.line("  %s\t%s\t%s\t%s", input.Kind, input.Name, input.Version, input.Digest)
	}
}

func (p printer) entry(e tree.Entry) {
	name := e.Path
	if e.Type == tree.Symlink {
		name += " → " + e.Target
	}
	bytes := ""
	if e.Type == tree.File {
		bytes = size.Bytes(e.Size).String()
	}
	p.line("  %s%04o\t%s\t%s", e.Type, e.Mode, bytes, name)
}

// pruned prints for each pattern what it matches, and below that nothing: all of it is left out.
func (p printer) pruned(pruned []build.Pruned) {
	files, bytes := 0, size.Bytes(0)
	for _, each := range pruned {
		files, bytes = files+each.Files.Files(), bytes+each.Files.Size()
	}
	p.section("Pruned: %d files, %v", files, bytes)
	for _, each := range pruned {
		why := "in every recipe"
		if each.Own {
			why = "in this recipe"
		}
		p.line("  %s: %s: %d files, %v", why, each.Glob, each.Files.Files(), each.Files.Size())
		for _, top := range each.Tops {
			p.line("    %s", top)
		}
		if len(each.Tops) == 0 {
			p.line("    nothing; the pattern can go")
		}
	}
}
