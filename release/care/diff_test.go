package care

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

func TestDiffRecipe(t *testing.T) {
	was := manifest.Manifest{
		Version: "1.0.0",
		Images: []manifest.Image{{Contents: []manifest.Content{
			{Path: "/usr/bin/changed", Size: 1, SHA256: digest.Of([]byte("old")), Recipe: "agent"},
			{Path: "/usr/bin/gone", Size: 2048, SHA256: digest.Of([]byte("x")), Recipe: "agent"},
			{Path: "/usr/bin/same", Size: 1, SHA256: digest.Of([]byte("x")), Recipe: "agent"},
			{Path: "/usr/bin/both", Size: 1, SHA256: digest.Of([]byte("x")), Recipe: "other"},
			{Path: "/usr/bin/other", Size: 1, SHA256: digest.Of([]byte("x")), Recipe: "other"},
			{Path: "/usr/bin/link", Target: "old", Recipe: "agent"},
		}}},
	}
	file := func(path, content string) tree.Entry {
		return tree.Entry{Path: path, Type: tree.File, Size: int64(len(content)), SHA256: digest.Of([]byte(content))}
	}
	is := &oem.Explained{
		Resolved: &build.Resolved{Recipe: &recipe.Recipe{}},
		Explanation: build.Explanation{Tree: tree.Tree{
			{Path: "/usr/bin", Type: tree.Dir},
			file("/usr/bin/both", "x"), file("/usr/bin/changed", "new"), file("/usr/bin/in-base", "x"),
			{Path: "/usr/bin/link", Type: tree.Symlink, Target: "new"},
			file("/usr/bin/new", "x"), file("/usr/bin/same", "x"),
		}},
		InBase: tree.Tree{file("/usr/bin/in-base", "x")},
	}
	var out bytes.Buffer
	if err := diffRecipe("agent", &was, is).Print(&out); err != nil {
		t.Fatal(err)
	}
	want := `agent since release 1.0.0: 0 inputs and 4 files differ
~ /usr/bin/changed  1 B → 3 B  
- /usr/bin/gone     2.0 KiB    
~ /usr/bin/link     0 B → 0 B  
+ /usr/bin/new      1 B        
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
