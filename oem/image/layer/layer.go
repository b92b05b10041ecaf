// Package layer splits the trees of platforms into layers: one of each platform's own, and shared ones for what
// several platforms have alike. What a platform activates, its own layer and shared ones, is exactly its tree.
//
// It only does arithmetic on trees: it reads no file's content.
package layer

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Platform is one platform's tree.
type Platform struct {
	ID   string
	Tree tree.Tree
}

// Layer is what becomes one image.
type Layer struct {
	Name      string    // of a shared layer, after its content: oem-shared-…; empty for a platform's own
	Platforms []string  // ids of those that activate it, in their order
	Tree      tree.Tree // a shared one has no extension-release yet, which would bind its name to an OS version
}

// Shared tells whether the layer is one of several platforms.
func (l Layer) Shared() bool { return l.Name != "" }

// packedShare is about how much of the size of files is left when they are packed.
// What a shared layer saves for each platform but the first is estimated with it.
const packedShare = 0.25

// worthwhile is what a shared layer must save for each platform that activates it. Each machine of those opens one more image:
// a mount and a loop device, where images are signed also dm-verity and a signature. And /usr has one more superblock and tables.
const worthwhile = 32 * size.KiB

// Split returns each platform's own layer, in the order of platforms, then the shared ones by name.
// No platform activates more than maxImages of them. A platform alone has no shared layers.
//
// Files, links and empty directories are grouped by which platforms have them alike, in directories that are alike, too.
// The group that saves most becomes a layer, for those of its platforms that have room for one more image, and so on.
// What is left joins a layer whose platforms all have it and lack it still, or the platforms' own layers.
func Split(platforms []Platform, maxImages int) []Layer {
	groups := grouped(platforms)
	room := make([]int, len(platforms))
	for i := range room {
		room[i] = maxImages - 1
	}
	var sets []string
	for {
		g, set := mostSaving(groups, room)
		if g == nil {
			break
		}
		g.give(set)
		for _, i := range members(set) {
			room[i]--
		}
		if !slices.Contains(sets, set) {
			sets = append(sets, set)
		}
	}
	// Larger sets first: they save more copies.
	slices.SortStableFunc(sets, func(a, b string) int { return cmp.Compare(len(members(b)), len(members(a))) })
	for _, g := range groups {
		for _, set := range sets {
			if g.lacking(set) {
				g.give(set)
			}
		}
	}
	return layers(platforms, groups, sets)
}

// A set of platforms is written as one character for each: '1' for those in it.

func members(set string) []int {
	var in []int
	for i, c := range set {
		if c == '1' {
			in = append(in, i)
		}
	}
	return in
}

// group is what the same platforms have alike.
type group struct {
	entries []tree.Entry
	bytes   size.Bytes
	open    []byte   // the set of platforms that have it in no shared layer
	layers  []string // sets whose shared layer has it
}

// lacking tells whether all of a set have the group's entries in no layer yet.
func (g *group) lacking(set string) bool {
	return !slices.ContainsFunc(members(set), func(i int) bool { return g.open[i] != '1' })
}

// give puts the entries into the layer of a set.
func (g *group) give(set string) {
	for _, i := range members(set) {
		g.open[i] = '0'
	}
	g.layers = append(g.layers, set)
}

// identity is all by which two entries are alike.
type identity struct {
	path    string
	kind    tree.Type
	mode    uint32
	owner   [2]int
	size    int64
	content digest.SHA256
	target  string
	xattrs  string
	above   string // the directories above
}

// grouped returns the groups by the order of their first entries.
func grouped(platforms []Platform) []*group {
	type found struct {
		entry tree.Entry
		set   []byte
	}
	all := map[identity]*found{}
	for i, p := range platforms {
		eachLeaf(p.Tree, func(e tree.Entry, above string) {
			id := identity{
				e.Path, e.Type, e.Mode, [2]int{e.UID, e.GID}, e.Size, e.SHA256, e.Target, fmt.Sprintf("%q", e.Xattrs), above,
			}
			if all[id] == nil {
				all[id] = &found{e, []byte(strings.Repeat("0", len(platforms)))}
			}
			all[id].set[i] = '1'
		})
	}
	bySet := map[string]*group{}
	for _, f := range all {
		set := string(f.set)
		if bySet[set] == nil {
			bySet[set] = &group{open: f.set}
		}
		bySet[set].entries = append(bySet[set].entries, f.entry)
		bySet[set].bytes += size.Bytes(f.entry.Size)
	}
	groups := make([]*group, 0, len(bySet))
	for _, g := range bySet {
		slices.SortFunc(g.entries, func(a, b tree.Entry) int { return cmp.Compare(a.Path, b.Path) })
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return cmp.Compare(string(b.open), string(a.open)) })
	return groups
}

// eachLeaf calls f with every file, link and empty directory, and with what the directories above it are like.
func eachLeaf(t tree.Tree, f func(e tree.Entry, above string)) {
	above := map[string]string{"/": ""}
	for _, e := range t {
		parent := above[path.Dir(e.Path)]
		if e.Type == tree.Dir {
			above[e.Path] = parent + fmt.Sprintf("%o:%d:%d:%q/", e.Mode, e.UID, e.GID, e.Xattrs)
			if len(t.Under(e.Path)) > 0 {
				continue
			}
		}
		f(e, parent)
	}
}

// mostSaving returns the group whose own layer saves most, and for which platforms; nil when none is worthwhile.
func mostSaving(groups []*group, room []int) (best *group, set string) {
	most := 0.0
	for _, g := range groups {
		can := slices.Clone(g.open)
		for i := range can {
			if room[i] < 1 {
				can[i] = '0'
			}
		}
		sharing := len(members(string(can)))
		saved := float64(sharing-1) * packedShare * float64(g.bytes)
		if saved > most && saved > float64(sharing)*float64(worthwhile) {
			most, best, set = saved, g, string(can)
		}
	}
	return best, set
}

// layers makes the trees: entries, and the directories above them.
func layers(platforms []Platform, groups []*group, sets []string) []Layer {
	var own, shared []Layer
	for i, p := range platforms {
		var entries []tree.Entry
		for _, g := range groups {
			if g.open[i] == '1' {
				entries = append(entries, g.entries...)
			}
		}
		own = append(own, Layer{Platforms: []string{p.ID}, Tree: tree.Tree(entries).WithParents(p.Tree)})
	}
	for _, set := range sets {
		var entries []tree.Entry
		for _, g := range groups {
			if slices.Contains(g.layers, set) {
				entries = append(entries, g.entries...)
			}
		}
		l := Layer{Tree: tree.Tree(entries).WithParents(platforms[members(set)[0]].Tree)}
		for _, i := range members(set) {
			l.Platforms = append(l.Platforms, platforms[i].ID)
		}
		l.Name = "oem-shared-" + digest.Of([]byte(l.Tree.Listing())).Short()
		shared = append(shared, l)
	}
	slices.SortFunc(shared, func(a, b Layer) int { return cmp.Compare(a.Name, b.Name) })
	return append(own, shared...)
}
