package show

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tree"
)

func TestRecipe(t *testing.T) {
	file := func(path string, bytes int64) tree.Entry {
		return tree.Entry{Path: path, Type: tree.File, Mode: 0o644, Size: bytes}
	}
	e := oem.Explained{
		Resolved: &build.Resolved{
			Arch: arch.ARM64,
			Recipe: &recipe.Recipe{
				Name: strictyaml.Text{Value: "tool"}, File: "recipes/tool/recipe.yaml", MaxSize: recipe.Limit{Bytes: size.MiB},
			},
		},
		Packed: 4096,
		InBase: tree.Tree{file("/usr/lib/same", 3)},
	}
	e.Tree = tree.Tree{
		{Path: "/usr", Type: tree.Dir, Mode: 0o755},
		file("/usr/lib/same", 3),
		{Path: "/usr/link", Type: tree.Symlink, Mode: 0o777, Target: "lib/same"},
		file("/usr/tool", 2048),
	}
	e.Pruned = []build.Pruned{
		{Glob: "/usr/share/doc", Tops: []string{"/usr/share/doc"}, Files: tree.Tree{file("/usr/share/doc/a", 5), file("/usr/share/doc/b", 6)}},
		{Glob: "/usr/gone", Own: true},
	}
	want := `tool for arm64, from recipes/tool/recipe.yaml
packed alone: 4.0 KiB of at most 1.0 MiB

Inputs: 0

The tree: 3 files, 2.0 KiB
  d0755           /usr
  -0644  3 B      /usr/lib/same
  l0777           /usr/link → lib/same
  -0644  2.0 KiB  /usr/tool

In the base already, so in no image: 1 files, 3 B
  -0644  3 B  /usr/lib/same

Pruned: 2 files, 11 B
  in every recipe: /usr/share/doc: 2 files, 11 B
    /usr/share/doc
  in this recipe: /usr/gone: 0 files, 0 B
    matches nothing; remove it
`
	var got strings.Builder
	if err := Recipe(Output{Writer: &got}, &e); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}
