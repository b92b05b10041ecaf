// Package changes finds what two releases differ in.
//
// In go the manifests of both, out come the differences, in an order that follows from them: tools, recipes with their inputs,
// images, files. Nothing is refused.
package changes

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Changes are what two releases differ in.
type Changes struct {
	Ground  []Thing  // base and tools
	Recipes []Recipe // by name
	Images  []Image  // by name
	Stamped []string // names of images in which only the version of the release is another one
	Files   []File   // those with the largest difference first
}

// Thing is what was something else before. An empty end means that it was not there.
type Thing struct{ Kind, Name, Old, New string }

// How says in a word what happened.
func (c Thing) How() string { return how(c.Old != "", c.New != "") }

func how(before, after bool) string {
	switch {
	case !before:
		return "added"
	case !after:
		return "removed"
	}
	return "changed"
}

// Recipe is a recipe with other inputs or other files than before.
type Recipe struct {
	Name   string
	How    string
	Inputs []Thing
	Files  Tally
}

// Image is an image that appeared, went, was packed another way, or holds something else.
type Image struct {
	Name     string
	How      string
	Old, New string // rungs
	Room     size.Bytes
}

// File is a path whose content differs in some platform, wherever the image that carries it was moved to.
type File struct {
	Path   string
	How    string
	Recipe string
	Images []string // that have it, or had it when it is gone
	Size   size.Bytes
}

// Tally sums changes of files up.
type Tally struct {
	Added, Removed, Changed int
	Size                    size.Bytes
}

func (t *Tally) add(f File) {
	switch f.How {
	case "added":
		t.Added++
	case "removed":
		t.Removed++
	default:
		t.Changed++
	}
	t.Size += f.Size
}

// Count is the number of files in it.
func (t Tally) Count() int { return t.Added + t.Removed + t.Changed }

// String says what is in a tally: "3 added, 1 removed, 12 changed".
func (t Tally) String() string {
	var words []string
	for _, part := range []struct {
		n    int
		what string
	}{{t.Added, "added"}, {t.Removed, "removed"}, {t.Changed, "changed"}} {
		if part.n > 0 {
			words = append(words, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	return strings.Join(words, ", ")
}

// TallyOf sums them up.
func TallyOf(files []File) Tally {
	var t Tally
	for _, f := range files {
		t.add(f)
	}
	return t
}

// Between returns what differs from one release to the next.
func Between(before, after *manifest.Manifest) *Changes {
	files := fileChanges(before, after)
	c := &Changes{
		Ground:  differences(ground(before), ground(after)),
		Recipes: recipeChanges(before, after, files),
		Files:   files,
	}
	for _, i := range imageChanges(before, after) {
		if i.How == stamped {
			c.Stamped = append(c.Stamped, i.Name)
		} else {
			c.Images = append(c.Images, i)
		}
	}
	return c
}

// stampDir has the files by which systemd matches an image with the OS (extension-release). They name the version of each release, so
// that they differ is no change of what an image does.
const stampDir = "/usr/lib/extension-release.d/"

func isStamp(path string) bool { return strings.HasPrefix(path, stampDir) }

// How an image differs that is in both releases.
const (
	changed  = "changed"  // it holds something else
	repacked = "repacked" // it holds the same, at another rung
	stamped  = "stamped"  // only its extension-release differs
)

// howImage compares what two images hold.
func howImage(was, is *manifest.Image) string {
	content := func(i *manifest.Image) []manifest.Content {
		return slices.DeleteFunc(slices.Clone(i.Contents), func(c manifest.Content) bool { return isStamp(c.Path) })
	}
	same := slices.EqualFunc(content(was), content(is), func(a, b manifest.Content) bool {
		return a.Path == b.Path && a.Size == b.Size && a.SHA256 == b.SHA256 && a.Target == b.Target
	})
	switch {
	case !same:
		return changed
	case was.Rung != is.Rung:
		return repacked
	}
	return stamped
}

// Any tells whether there is anything to show.
func (c *Changes) Any() bool {
	return len(c.Ground)+len(c.Recipes)+len(c.Images)+len(c.Files)+len(c.Stamped) > 0
}

// ground is what everything was built on.
func ground(m *manifest.Manifest) map[string]string {
	things := maps.Clone(m.Tools)
	if things == nil {
		things = map[string]string{}
	}
	things["base "+m.Base.ID] = m.Base.VersionID + " (/usr " + m.Base.Usr.Short() + ")"
	things["compiler"] = m.Go
	return things
}

// differences compares by name and returns what differs, by name.
func differences(before, after map[string]string) []Thing {
	all := maps.Clone(before)
	maps.Copy(all, after)
	var list []Thing
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if before[name] != after[name] {
			list = append(list, Thing{Name: name, Old: before[name], New: after[name]})
		}
	}
	return list
}

func recipeChanges(before, after *manifest.Manifest, files []File) []Recipe {
	had, has, sums := byRecipe(before), byRecipe(after), map[string]Tally{}
	for _, f := range files {
		sum := sums[f.Recipe]
		sum.add(f)
		sums[f.Recipe] = sum
	}
	names := slices.Concat(slices.Collect(maps.Keys(had)), slices.Collect(maps.Keys(has)), slices.Collect(maps.Keys(sums)))
	slices.Sort(names)
	var list []Recipe
	for _, name := range slices.Compact(names) {
		was, known := had[name]
		is, knows := has[name]
		staged := !known && !knows // files of no recipe
		c := Recipe{Name: name, How: how(known || staged, knows || staged), Inputs: inputChanges(was, is), Files: sums[name]}
		if c.How != "changed" || len(c.Inputs) > 0 || c.Files.Count() > 0 {
			list = append(list, c)
		}
	}
	return list
}

func byRecipe(m *manifest.Manifest) map[string][]input.Input {
	inputs := map[string][]input.Input{}
	for _, r := range m.Recipes {
		inputs[r.Name] = r.Inputs
	}
	return inputs
}

// inputChanges names versions, and digests where those are all that differs.
func inputChanges(before, after []input.Input) []Thing {
	type key struct{ kind, name string }
	index := func(inputs []input.Input) map[key]input.Input {
		by := map[key]input.Input{}
		for _, i := range inputs {
			by[key{i.Kind, i.Name}] = i
		}
		return by
	}
	had, has := index(before), index(after)
	all := maps.Clone(had)
	maps.Copy(all, has)
	var list []Thing
	for k := range all {
		was, is := had[k], has[k]
		if was == is {
			continue
		}
		c := Thing{k.kind, k.name, cmp.Or(was.Version, shortDigest(was.Digest)), cmp.Or(is.Version, shortDigest(is.Digest))}
		if c.Old == c.New {
			c.Old, c.New = shortDigest(was.Digest), shortDigest(is.Digest)
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Thing) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return list
}

// shortDigest keeps the kind of a digest and as many digits as people compare.
func shortDigest(d string) string {
	const digits = 12
	if kind, value, found := strings.Cut(d, ":"); found && len(value) > digits {
		return kind + ":" + value[:digits]
	}
	return d
}

func imageChanges(before, after *manifest.Manifest) []Image {
	var names []string
	for _, i := range slices.Concat(before.Images, after.Images) {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	var list []Image
	for _, name := range slices.Compact(names) {
		was, is := ImageOf(before, name), ImageOf(after, name)
		c := Image{Name: name, How: how(was != nil, is != nil)}
		if was != nil {
			c.Old = was.Rung.String()
			c.Room -= Room(was)
		}
		if is != nil {
			c.New = is.Rung.String()
			c.Room += Room(is)
		}
		if was != nil && is != nil {
			if was.SHA256 == is.SHA256 && c.Room == 0 {
				continue
			}
			c.How = howImage(was, is)
		}
		list = append(list, c)
	}
	return list
}

// variant is one content of a path. Platforms may have different ones.
type variant struct {
	size   int64
	sha256 digest.SHA256
	target string
}

// pathContents is everything that a release has at one path.
type pathContents struct {
	variants map[variant]bool
	images   []string
	recipe   string
}

func byPath(m *manifest.Manifest) map[string]pathContents {
	paths := map[string]pathContents{}
	for _, i := range m.Images {
		for _, c := range i.Contents {
			if isStamp(c.Path) {
				continue
			}
			p, there := paths[c.Path]
			if !there {
				p.variants = map[variant]bool{}
			}
			p.variants[variant{c.Size, c.SHA256, c.Target}] = true
			p.images = append(p.images, i.Name)
			p.recipe = c.Recipe
			paths[c.Path] = p
		}
	}
	return paths
}

// fileChanges compares what all images have together: that a file moved to a shared image is no change of the file.
func fileChanges(before, after *manifest.Manifest) []File {
	had, has := byPath(before), byPath(after)
	all := maps.Clone(had)
	maps.Copy(all, has)
	var list []File
	for path, p := range all { // as it is now, or was when it is gone
		was, is := had[path].variants, has[path].variants
		if maps.Equal(was, is) {
			continue
		}
		f := File{Path: path, How: how(was != nil, is != nil), Recipe: p.recipe, Images: p.images}
		f.Size = sizeWithout(is, was) - sizeWithout(was, is)
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b File) int {
		return cmp.Or(cmp.Compare(max(b.Size, -b.Size), max(a.Size, -a.Size)), strings.Compare(a.Path, b.Path))
	})
	return list
}

// sizeWithout sums up those variants that are not among others.
func sizeWithout(variants, others map[variant]bool) size.Bytes {
	var total size.Bytes
	for v := range variants {
		if !others[v] {
			total += size.Bytes(v.size)
		}
	}
	return total
}

// Room is what an image takes where it lies: in /usr, or else on the OEM partition.
func Room(i *manifest.Image) size.Bytes {
	if i.Embedded == "" {
		return i.Size
	}
	return i.Cost
}

// ImageOf is the image of a name in a release. It returns nil when there is none of that name.
func ImageOf(m *manifest.Manifest, name string) *manifest.Image {
	at := slices.IndexFunc(m.Images, func(i manifest.Image) bool { return i.Name == name })
	if at < 0 {
		return nil
	}
	return &m.Images[at]
}
