package stage

import (
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// proposed finds what a problem proposes to write into the recipe.
var proposed = regexp.MustCompile(`add replaces: or keeps: \[(\S+)\] to `)

// TestDoingAsProposed does what the problems of a tree propose, by keeps: and by replaces:, until there are none left.
func TestDoingAsProposed(t *testing.T) {
	withMode := func(all tree.Tree, name string, mode uint32, gid int) tree.Tree {
		e := all.At(name)
		e.Mode, e.GID = mode, gid
		return all
	}
	link := func(all tree.Tree, name, to string) tree.Tree {
		*all.At(name) = tree.Entry{Path: name, Type: tree.Symlink, Mode: 0o777, Target: to}
		return all
	}
	for name, c := range map[string]struct {
		base, image     tree.Tree
		keeps, replaces tree.Tree // the image's tree then, without its extension-release
	}{
		"a file": {
			files("/usr/bin/sh", "base"), files("/usr/bin/sh", "own"),
			nil, files("/usr/bin/sh", "own"),
		},
		"a directory with another mode, and what is in it": {
			withMode(files("/usr/share/rules/a", "a"), "/usr/share/rules", 0o700, 0), files("/usr/share/rules/a", "own", "/usr/share/rules/b", "b"),
			withMode(files("/usr/share/rules/b", "b"), "/usr/share/rules", 0o700, 0), files("/usr/share/rules/a", "own", "/usr/share/rules/b", "b"),
		},
		"a directory with another group": {
			withMode(files("/usr/share/rules/a", "a"), "/usr/share/rules", 0o755, 7), files("/usr/share/rules/b", "b"),
			withMode(files("/usr/share/rules/b", "b"), "/usr/share/rules", 0o755, 7), files("/usr/share/rules/b", "b"),
		},
		"a directory where the base has a file": {
			files("/usr/share/x", "file"), files("/usr/share/x/y/z", "z", "/usr/share/x/y/0", "0", "/usr/bin/b", "b"),
			files("/usr/bin/b", "b"), files("/usr/share/x/y/z", "z", "/usr/share/x/y/0", "0", "/usr/bin/b", "b"),
		},
		"a file where the base has a directory": {
			files("/usr/share/x/y", "y"), files("/usr/share/x", "file", "/usr/bin/b", "b"),
			files("/usr/bin/b", "b"), files("/usr/share/x", "file", "/usr/bin/b", "b"),
		},
		"a link with another target": {
			link(files("/usr/bin/sh", ""), "/usr/bin/sh", "dash"), link(files("/usr/bin/sh", "", "/usr/bin/b", "b"), "/usr/bin/sh", "bash"),
			files("/usr/bin/b", "b"), link(files("/usr/bin/sh", "", "/usr/bin/b", "b"), "/usr/bin/sh", "bash"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			on := &target.Base{ID: "flatcar", VersionID: "1.2.3", Usr: c.base}
			for key, want := range map[string]tree.Tree{"keeps": c.keeps, "replaces": c.replaces} {
				p := part("a", c.image)
				asked := 0
				got := subtracted(t, p, on, func(path string) {
					if asked++; asked > 3 {
						t.Fatalf("%s: it is proposed again and again: %s", key, path)
					}
					if key == "keeps" {
						p.Recipe.Keeps = append(p.Recipe.Keeps, recipe.Glob(path))
					} else {
						p.Recipe.Replaces = append(p.Recipe.Replaces, recipe.Path(path))
					}
				})
				if diff := cmp.Diff(want.Listing(), got.Listing()); diff != "" || asked == 0 {
					t.Errorf("%s, asked %d times: %s", key, asked, diff)
				}
				if err := got.HasParents(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// subtracted subtracts a base and calls do with what each problem proposes until there are none.
func subtracted(t *testing.T, p Part, base *target.Base, do func(path string)) tree.Tree {
	t.Helper()
	for {
		problems := &Problems{}
		staged := subtract(slices.Clone(p.Tree), []Part{p}, base, problems)
		if len(problems.Found) == 0 {
			return staged.Tree
		}
		for _, found := range problems.Found {
			match := proposed.FindStringSubmatch(found)
			if match == nil {
				t.Fatal(errors.New(found))
			}
			if err := new(recipe.Path).UnmarshalText([]byte(match[1])); err != nil {
				t.Fatalf("what is proposed cannot be written: %v", err)
			}
			do(match[1])
		}
	}
}

// TestDirectoriesIncludeWhatIsInThem says that keeps: and replaces: of a directory are those of all files in it.
func TestDirectoriesIncludeWhatIsInThem(t *testing.T) {
	on := &target.Base{ID: "flatcar", VersionID: "1.2.3", Usr: files("/usr/share/x/a", "a", "/usr/share/x/y/b", "b", "/usr/share/xx", "xx")}
	image := files("/usr/share/x/a", "own", "/usr/share/x/y/b", "own", "/usr/share/x/y/c", "c")
	for _, c := range []struct {
		recipe recipe.Recipe
		want   tree.Tree
	}{
		{recipe.Recipe{Keeps: []recipe.Glob{"/usr/share/x"}}, files("/usr/share/x/y/c", "c")},
		{recipe.Recipe{Keeps: []recipe.Glob{"/usr/*/x"}}, files("/usr/share/x/y/c", "c")},
		{recipe.Recipe{Replaces: []recipe.Path{"/usr/share/x"}}, image},
	} {
		c.recipe.Name.Value = "a"
		got := subtracted(t, Part{Recipe: &c.recipe, Tree: image}, on, func(path string) { t.Fatalf("it is asked for %s", path) })
		if diff := cmp.Diff(c.want.Listing(), got.Listing()); diff != "" {
			t.Error(diff)
		}
	}
	sibling := part("a", files("/usr/share/xx", "own"))
	sibling.Recipe.Replaces = []recipe.Path{"/usr/share/x"}
	asked := false
	subtracted(t, sibling, on, func(string) { asked, sibling.Recipe.Replaces = true, []recipe.Path{"/usr/share/xx"} })
	if !asked {
		t.Error("a path that begins like the directory is replaced")
	}
}
