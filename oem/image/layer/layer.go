// Package layer splits the trees of platforms into layers: one for each platform, and shared ones for files that several
// platforms have in common. A platform's own layer and its shared ones together are exactly its tree.
//
// It only computes with trees, and reads no file content.
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

// Layer is the content of one image.
type Layer struct {
	Name      string    // of a shared layer, with a content hash: oem-shared-…; empty for a platform's own
	Platforms []string  // ids of the platforms that activate it, in order
	Tree      tree.Tree // a shared layer has no extension-release yet, which would make its name depend on the OS version
}

// Shared tells whether several platforms share the layer.
func (l Layer) Shared() bool { return l.Name != "" }

// packedShare is the typical ratio of packed to unpacked size, to estimate what a shared layer saves.
const packedShare = 0.25

// worthwhile is what a shared layer must save per platform that activates it. It costs each machine one more image to open:
// a mount and a loop device, with signed images also dm-verity and a signature; and /usr another superblock and tables.
const worthwhile = 32 * size.KiB

// Split returns each platform's own layer, in the order of platforms, then the shared ones by name.
// No platform activates more than maxImages of them. A single platform has no shared layers.
//
// Files, links and empty directories are grouped by the platforms that have them identically, in identical directories.
// Repeatedly, the group that saves most becomes a layer, for those of its platforms that may activate one more image.
// The rest joins an existing layer whose platforms all lack it, or the platforms' own layers.
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

// A set of platforms is a string with one character for each, '1' for members.

func members(set string) []int {
	var in []int
	for i, c := range set {
		if c == '1' {
			in = append(in, i)
		}
	}
	return in
}

// group is the entries that the same platforms have in common.
type group struct {
	entries []tree.Entry
	bytes   size.Bytes
	open    []byte   // platforms that have it in no shared layer yet
	layers  []string // sets of platforms whose shared layer has it
}

// lacking tells whether no platform of a set has the entries in a layer yet.
func (g *group) lacking(set string) bool {
	return !slices.ContainsFunc(members(set), func(i int) bool { return g.open[i] != '1' })
}

// give adds the entries to the layer of a set.
func (g *group) give(set string) {
	for _, i := range members(set) {
		g.open[i] = '0'
	}
	g.layers = append(g.layers, set)
}

// identity is everything that identical entries have in common.
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

// grouped returns the groups, ordered by their first entries.
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

// eachLeaf calls f with every file, link and empty directory, and a description of the directories above it.
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

// mostSaving returns the group whose layer would save most, and its platforms; nil if none is worthwhile.
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

// layers builds the trees from entries and the directories above them.
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
