package care

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
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
	content := func(path, text string, size int64) *manifest.Content {
		return &manifest.Content{Path: path, Size: size, SHA256: digest.Of([]byte(text))}
	}
	own := func(c *manifest.Content) *manifest.Content {
		c.Recipe = "agent"
		return c
	}
	want := &RecipeDiff{Recipe: "agent", Since: "1.0.0", Files: []FileChange{
		{own(content("/usr/bin/changed", "old", 1)), content("/usr/bin/changed", "new", 3)},
		{own(content("/usr/bin/gone", "x", 2048)), nil},
		{&manifest.Content{Path: "/usr/bin/link", Target: "old", Recipe: "agent"}, &manifest.Content{Path: "/usr/bin/link", Target: "new"}},
		{nil, content("/usr/bin/new", "x", 1)},
	}}
	if diff := cmp.Diff(want, diffRecipe("agent", &was, is)); diff != "" {
		t.Error(diff)
	}
}

// An input that came, went or has another version is told of, and none that is as it was.
func TestDiffRecipeOfInputs(t *testing.T) {
	deb := func(name, version string) *input.Input {
		return &input.Input{Kind: "deb", Name: name, Version: version}
	}
	was := manifest.Manifest{Recipes: []manifest.Recipe{
		{Name: "agent", Inputs: []input.Input{*deb("a", "1"), *deb("gone", "1"), *deb("same", "1")}},
		{Name: "other", Inputs: []input.Input{*deb("theirs", "1")}},
	}}
	is := &oem.Explained{Resolved: &build.Resolved{
		Recipe: &recipe.Recipe{Sources: []recipe.Source{{Deb: &recipe.Deb{}}}},
		Pins:   [][]lock.Pin{{{Name: "a", Version: "2"}, {Name: "new", Version: "1"}, {Name: "same", Version: "1"}}},
	}}
	want := &RecipeDiff{Recipe: "agent", Inputs: []InputChange{{deb("a", "1"), deb("a", "2")}, {deb("gone", "1"), nil}, {nil, deb("new", "1")}}}
	if diff := cmp.Diff(want, diffRecipe("agent", &was, is)); diff != "" {
		t.Error(diff)
	}
}
