package layer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tree"
)

func dir(path string) tree.Entry { return tree.Entry{Path: path, Type: tree.Dir, Mode: 0o755} }

func file(path, content string, length size.Bytes) tree.Entry {
	return tree.Entry{Path: path, Type: tree.File, Mode: 0o644, Size: int64(length), SHA256: digest.Of([]byte(content))}
}

// platforms: python is of a, b and c; d has another python at the same path, and all have a small file.
func platforms() []Platform {
	python := file("/usr/bin/python", "3.13", 20*size.MiB)
	common := file("/usr/bin/tiny", "tiny", 1000)
	own := func(id string) tree.Entry { return file("/usr/own/"+id, id, 5*size.MiB) }
	t := func(entries ...tree.Entry) tree.Tree {
		return tree.Sorted(append(entries, dir("/usr"), dir("/usr/bin"), dir("/usr/own"), common))
	}
	return []Platform{
		{"a", t(python, own("a"))},
		{"b", t(python, own("b"), dir("/usr/empty"))},
		{"c", t(python, own("c"))},
		{"d", t(file("/usr/bin/python", "2.7", 20*size.MiB), own("d"))},
	}
}

func paths(l Layer) string {
	var names []string
	for _, e := range l.Tree {
		if e.Type != tree.Dir || e.Path == "/usr/empty" {
			names = append(names, e.Path)
		}
	}
	return strings.Join(l.Platforms, "+") + ": " + strings.Join(names, " ")
}

func TestSplit(t *testing.T) {
	all := Split(platforms(), 4)
	var got []string
	for _, l := range all {
		got = append(got, paths(l))
	}
	want := []string{
		"a: /usr/own/a", "b: /usr/empty /usr/own/b", "c: /usr/own/c", "d: /usr/bin/python /usr/bin/tiny /usr/own/d",
		"a+b+c: /usr/bin/python /usr/bin/tiny", // the small file alone would not be worth an image
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if shared := all[4]; !shared.Shared() || !strings.HasPrefix(shared.Name, "oem-shared-") {
		t.Errorf("shared layer is called %q", shared.Name)
	}
}

// What few files would save many platforms is little for each of them, and an image more to open.
func TestSharedLayersMustBeWorthIt(t *testing.T) {
	for _, c := range []struct {
		platforms int
		common    size.Bytes
		shared    bool
	}{
		{2, 250 * size.KiB, false}, {2, 260 * size.KiB, true}, {18, 48 * size.KiB, false}, {18, 130 * size.KiB, false}, {18, 140 * size.KiB, true},
	} {
		var all []Platform
		for i := range c.platforms {
			id := fmt.Sprint("p", i)
			all = append(all, Platform{id, tree.Sorted(tree.Tree{dir("/usr"), file("/usr/common", "common", c.common), file("/usr/"+id, id, 1)})})
		}
		if got := len(Split(all, 4)) > c.platforms; got != c.shared {
			t.Errorf("%v of %d platforms have a layer: %v; wanted %v", c.common, c.platforms, got, c.shared)
		}
	}
}

func TestAloneThereIsNothingToShare(t *testing.T) {
	p := platforms()[0]
	all := Split([]Platform{p}, 4)
	if len(all) != 1 || all[0].Shared() {
		t.Fatalf("layers are %v", all)
	}
	if diff := cmp.Diff(p.Tree, all[0].Tree); diff != "" {
		t.Error(diff)
	}
}

func TestNameFollowsContent(t *testing.T) {
	name := func(change func([]Platform)) string {
		p := platforms()
		change(p)
		for _, l := range Split(p, 4) {
			if l.Shared() {
				return l.Name
			}
		}
		return ""
	}
	first := name(func([]Platform) {})
	if own := name(func(p []Platform) { p[3].Tree.At("/usr/own/d").SHA256 = digest.Of([]byte("new")) }); own != first {
		t.Error("a change of another layer gives the shared one another name")
	}
	if shared := name(func(p []Platform) {
		for i := range 3 {
			p[i].Tree.At("/usr/bin/python").SHA256 = digest.Of([]byte("3.14"))
		}
	}); shared == first || shared == "" {
		t.Error("other content has the same name")
	}
}

func TestDirectoriesMustBeAlikeToo(t *testing.T) {
	p := platforms()[:2]
	p[1].Tree.At("/usr/bin").Mode = 0o700
	if all := Split(p, 4); len(all) != 2 {
		t.Errorf("%d layers; the directory above what both have differs, and one of the modes would win", len(all))
	}
}

// Whatever the trees are, what a platform activates is its tree, nothing more, within the limit of images.
func TestWhatIsActivatedIsTheTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	shared := 0
	for range 300 {
		var all []Platform
		for id := range 1 + rng.IntN(7) {
			entries := []tree.Entry{dir("/usr"), dir("/usr/d")}
			for f := range 12 {
				if rng.IntN(3) > 0 {
					content := fmt.Sprint(f, rng.IntN(2))
					entries = append(entries, file(fmt.Sprintf("/usr/d/f%d", f), content, size.Bytes(len(content)+f)*size.MiB/4))
				}
			}
			all = append(all, Platform{fmt.Sprint(id), tree.Sorted(entries)})
		}
		maxImages := 1 + rng.IntN(4)
		split := Split(all, maxImages)
		var before, after size.Bytes
		for _, p := range all {
			before += p.Tree.Size()
			var merged tree.Tree
			images := 0
			for _, l := range split {
				if slices.Contains(l.Platforms, p.ID) {
					var conflicts []tree.Conflict
					if merged, conflicts = tree.Merge(merged, l.Tree); len(conflicts) > 0 {
						t.Fatalf("layers of %s conflict: %v", p.ID, conflicts)
					}
					images++
				}
			}
			files := func(t tree.Tree) tree.Tree { // a directory that nothing is left in need not be there
				return t.Filter(func(e tree.Entry) bool { return e.Type != tree.Dir })
			}
			if diff := cmp.Diff(files(p.Tree).Listing(), files(merged).Listing()); diff != "" {
				t.Fatal(diff)
			}
			if images > maxImages {
				t.Fatalf("%s activates %d images; at most %d are allowed", p.ID, images, maxImages)
			}
		}
		for _, l := range split {
			after += l.Tree.Size()
			if l.Shared() {
				shared++
			}
		}
		if after > before {
			t.Fatalf("layers have %v, the trees had %v", after, before)
		}
	}
	if shared < 100 {
		t.Errorf("only %d shared layers in all cases", shared)
	}
}
