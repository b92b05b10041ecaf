package build

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/arch"
)

func TestExplain(t *testing.T) {
	b, r := builder(t, checkout(t, `
files: files
prune: [/usr/share/tool, "/usr/share/tool/*.bak", /usr/lib/gone]
requires: [/usr/bin/other]
`, "files/usr/bin/tool", "tool", "files/usr/share/doc/tool/README", "doc", "files/usr/share/tool/a.bak", "bak",
		"files/usr/share/tool/deep/b", "deep", "files/etc/tool.bak", "out of place"))
	resolved, err := b.Resolve(t.Context(), r, arch.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Explain(t.Context(), resolved)
	if err != nil {
		t.Fatal(err)
	}
	if _, there := got.Tree.Find("/usr/bin/tool"); !there || got.Tree.Files() != 1 {
		t.Errorf("the tree is %v", got.Tree)
	}
	if got.Lacks == nil || !strings.Contains(got.Lacks.Error(), "requires /usr/bin/other") {
		t.Errorf("it lacks %v", got.Lacks)
	}
	type line struct {
		Glob  string
		Own   bool
		Tops  []string
		Files int
	}
	var lines []line
	for _, p := range got.Pruned {
		lines = append(lines, line{string(p.Glob), p.Own, p.Tops, p.Files.Files()})
	}
	want := []line{
		{string(never[0]), false, []string{"/usr/share/doc"}, 1},
		{"/usr/share/tool", true, []string{"/usr/share/tool"}, 2},
		{"/usr/share/tool/*.bak", true, nil, 0}, // a parent is left out already
		{"/usr/lib/gone", true, nil, 0},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	kept, err := b.Tree(t.Context(), resolved)
	if err == nil || kept != nil {
		t.Errorf("what lacks something required is the tree %v", kept)
	}
}
