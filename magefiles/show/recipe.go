package show

import (
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Shown is what one recipe makes.
type Shown struct {
	Recipe string        `json:"recipe"`
	Arch   string        `json:"arch"`
	File   string        `json:"file" doc:"path of the recipe"`
	Packed size.Bytes    `json:"packed_bytes" doc:"alone"`
	Limit  size.Bytes    `json:"max_size_bytes"`
	Inputs []input.Input `json:"inputs"`
	Tree   []ShownFile   `json:"tree"`
	Pruned []ShownGlob   `json:"pruned"`
	Lacks  string        `json:"wrong,omitempty" doc:"what it should have, for people"`
}

// ShownFile is one path of a recipe's tree.
type ShownFile struct {
	Path   string `json:"path"`
	Type   string `json:"type" doc:"- a file, d a directory, l a symbolic link"`
	Mode   string `json:"mode" doc:"octal"`
	Size   int64  `json:"bytes"`
	Target string `json:"target,omitempty" doc:"of a link"`
	InBase bool   `json:"in_base,omitempty" doc:"the base has the same, so it is in no image"`
}

// ShownGlob is what one pattern pruned.
type ShownGlob struct {
	Glob  string     `json:"glob"`
	Own   bool       `json:"own" doc:"the recipe's, not one for every recipe"`
	Tops  []string   `json:"tops" doc:"paths that match it themselves"`
	Files int        `json:"files"`
	Size  size.Bytes `json:"bytes"`
}

// Recipe prints the inputs, the tree and the pruned files of a recipe.
func Recipe(out Output, e *oem.Explained) error {
	return out.answer(shown(e), func() error { return writeRecipe(out, e) })
}

func shown(e *oem.Explained) Shown {
	r := e.Resolved.Recipe
	s := Shown{
		Recipe: r.Name.Value, Arch: string(e.Resolved.Arch), File: r.File, Packed: e.Packed, Limit: r.MaxSize.Bytes, Inputs: e.Resolved.Inputs(),
	}
	for _, entry := range e.Tree {
		_, inBase := e.InBase.Find(entry.Path)
		s.Tree = append(s.Tree, ShownFile{entry.Path, fmt.Sprint(entry.Type), fmt.Sprintf("%04o", entry.Mode), entry.Size, entry.Target, inBase})
	}
	for _, p := range e.Pruned {
		s.Pruned = append(s.Pruned, ShownGlob{string(p.Glob), p.Own, p.Tops, p.Files.Files(), p.Files.Size()})
	}
	if e.Lacks != nil {
		s.Lacks = e.Lacks.Error()
	}
	return s
}

func writeRecipe(out io.Writer, e *oem.Explained) error {
	r := e.Resolved.Recipe
	p := printer{table.New(out)}
	p.line("%s for %s, from %s", r.Name, e.Resolved.Arch, r.File)
	p.line("packed alone: %v of at most %v", e.Packed, r.MaxSize)
	p.inputs(e.Resolved.Inputs())
	p.section("The tree: %d files, %v", e.Tree.Files(), e.Tree.Size())
	for _, entry := range e.Tree {
		p.entry(entry)
	}
	if len(e.InBase) > 0 {
		p.section("In the base already, so in no image: %d files, %v", e.InBase.Files(), e.InBase.Size())
		for _, entry := range e.InBase {
			p.entry(entry)
		}
	}
	p.pruned(e.Pruned)
	return p.Flush()
}

type printer struct{ *table.Table }

func (p printer) line(format string, args ...any) { p.Row(fmt.Sprintf(format, args...)) }

func (p printer) section(format string, args ...any) { p.line("\n"+format, args...) }

func (p printer) inputs(inputs []input.Input) {
	p.section("Inputs: %d", len(inputs))
	for _, input := range inputs {
		p.Row("  "+input.Kind, input.Name, input.Version, input.Digest)
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
	p.Row(fmt.Sprintf("  %s%04o", e.Type, e.Mode), bytes, name)
}

// pruned prints the matches of each pattern: the files, or the topmost directory if all of it is pruned.
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
			p.line("    matches nothing; remove it")
		}
	}
}
