// Package tree holds file-system trees as values: paths, metadata and digests of contents, which are in the blob store.
package tree

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Type is the type of an entry. Trees have no other types.
type Type string

// The types, by the letter that ls prints.
const (
	Dir     Type = "d"
	File    Type = "-"
	Symlink Type = "l"
)

// Entry is one file, directory or symbolic link. Hard links count as separate files.
type Entry struct {
	Path   string            `json:"path"` // absolute and clean; never "/"
	Type   Type              `json:"type"`
	Mode   uint32            `json:"mode"` // permission, setuid, setgid and sticky bits (chmod(2)); 0777 for symbolic links
	UID    int               `json:"uid,omitempty"`
	GID    int               `json:"gid,omitempty"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"`
	Size   int64             `json:"size,omitempty"`   // of a file, in bytes
	SHA256 digest.SHA256     `json:"sha256,omitzero"`  // of a file's content
	Target string            `json:"target,omitempty"` // of a symbolic link
}

// Tree is entries sorted by path, without duplicates. It contains every entry's parents.
type Tree []Entry

// Equal tells whether two entries are the same in every respect.
func (e Entry) Equal(o Entry) bool {
	sameXattrs := len(e.Xattrs) == len(o.Xattrs)
	for name, value := range e.Xattrs {
		other, has := o.Xattrs[name]
		sameXattrs = sameXattrs && has && string(other) == string(value)
	}
	return sameXattrs && e.Path == o.Path && e.Type == o.Type && e.Mode == o.Mode && e.UID == o.UID && e.GID == o.GID &&
		e.Size == o.Size && e.SHA256 == o.SHA256 && e.Target == o.Target
}

// String prints mode, owner, size, path and content, as in golden listings.
func (e Entry) String() string {
	what := "-"
	switch e.Type {
	case File:
		what = e.SHA256.Short()
	case Symlink:
		what = "-> " + e.Target
	}
	line := fmt.Sprintf("%s%04o %d:%d %d %s %s", e.Type, e.Mode, e.UID, e.GID, e.Size, e.Path, what)
	if len(e.Xattrs) > 0 {
		line += fmt.Sprintf(" %q", e.Xattrs)
	}
	return line
}

// Sorted returns the entries in the order of their paths.
func Sorted(entries []Entry) Tree {
	t := slices.Clone(entries)
	slices.SortFunc(t, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	return t
}

// WithParents adds missing parent directories, copied from like, or with mode 0755 if like lacks them.
func (t Tree) WithParents(like Tree) Tree {
	there := map[string]bool{"/": true}
	for _, e := range t {
		there[e.Path] = true
	}
	all := slices.Clone(t)
	for _, e := range t {
		for dir := path.Dir(e.Path); !there[dir]; dir = path.Dir(dir) {
			there[dir] = true
			parent, known := like.Find(dir)
			if !known {
				parent = Entry{Path: dir, Type: Dir, Mode: 0o755}
			}
			all = append(all, parent)
		}
	}
	return Sorted(all)
}

// Conflict is a path that differs between two trees.
type Conflict struct{ A, B Entry }

// UnmarshalJSON refuses what is no tree: it may come from a cache of others, and is laid out as files.
func (t *Tree) UnmarshalJSON(encoded []byte) error {
	var entries []Entry
	if err := json.Unmarshal(encoded, &entries); err != nil {
		return err
	}
	if err := Tree(entries).check(); err != nil {
		return err
	}
	*t = entries
	return t.HasParents()
}

// check reports the first entry that breaks what Entry and Tree promise.
func (t Tree) check() error {
	others := map[string]bool{} // what is no directory
	for i, e := range t {
		switch {
		case e.Path == "/" || !path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path || strings.Contains(e.Path, "\x00"):
			return fmt.Errorf("tree: entry %q: wanted an absolute and clean path", e.Path)
		case i > 0 && t[i-1].Path >= e.Path:
			return fmt.Errorf("tree: entry %q: is twice, or not in the order of paths", e.Path)
		case e.Type != Dir && e.Type != File && e.Type != Symlink:
			return fmt.Errorf("tree: entry %q: has the type %q; wanted one of %s, %s and %s", e.Path, e.Type, Dir, File, Symlink)
		case e.Mode > 0o7777 || e.UID < 0 || e.GID < 0 || e.Size < 0:
			return fmt.Errorf("tree: entry %q: has mode %o, owner %d:%d and size %d", e.Path, e.Mode, e.UID, e.GID, e.Size)
		case (e.Type == Symlink) != (e.Target != "") || strings.Contains(e.Target, "\x00"):
			return fmt.Errorf("tree: entry %q: has the type %s and the target %q", e.Path, e.Type, e.Target)
		}
		for dir := path.Dir(e.Path); dir != "/"; dir = path.Dir(dir) {
			if others[dir] {
				return fmt.Errorf("tree: entry %q: is below %q, which is no directory", e.Path, dir)
			}
		}
		if e.Type != Dir {
			others[e.Path] = true
		}
	}
	return nil
}

// HasParents reports an entry without its directory before it. What writes trees refuses these: a writer would make up the directory.
func (t Tree) HasParents() error {
	dirs := map[string]bool{"/": true}
	for _, e := range t {
		if dir := path.Dir(e.Path); !dirs[dir] {
			return fmt.Errorf("tree: entry %q: the tree lacks its directory %s, with mode and owner", e.Path, dir)
		}
		if e.Type == Dir {
			dirs[e.Path] = true
		}
	}
	return nil
}

// Merge returns the entries of both trees, and the conflicts, for which the result has the entry of a.
func Merge(a, b Tree) (Tree, []Conflict) {
	merged := make(Tree, 0, len(a)+len(b))
	var conflicts []Conflict
	for len(a) > 0 && len(b) > 0 {
		switch order := strings.Compare(a[0].Path, b[0].Path); {
		case order < 0:
			merged, a = append(merged, a[0]), a[1:]
		case order > 0:
			merged, b = append(merged, b[0]), b[1:]
		default:
			if !a[0].Equal(b[0]) {
				conflicts = append(conflicts, Conflict{a[0], b[0]})
			}
			merged, a, b = append(merged, a[0]), a[1:], b[1:]
		}
	}
	return append(append(merged, a...), b...), conflicts
}

// Find returns the entry at a path.
func (t Tree) Find(path string) (Entry, bool) {
	if e := t.At(path); e != nil {
		return *e, true
	}
	return Entry{}, false
}

// At returns a pointer to the entry at a path, or nil.
func (t Tree) At(path string) *Entry {
	i, found := slices.BinarySearchFunc(t, path, func(e Entry, path string) int { return cmp.Compare(e.Path, path) })
	if !found {
		return nil
	}
	return &t[i]
}

// Under returns the entries below a directory.
func (t Tree) Under(dir string) Tree {
	from := sort.Search(len(t), func(i int) bool { return t[i].Path >= dir+"/" })
	to := sort.Search(len(t), func(i int) bool { return t[i].Path >= dir+"0" }) // "0" follows "/" in ASCII
	return t[from:to]
}

// Filter returns the entries that keep accepts. Directories that became empty are dropped; those empty before stay.
func (t Tree) Filter(keep func(Entry) bool) Tree {
	held := map[string]bool{} // directories that had something
	used := map[string]bool{} // directories that still have something
	kept := make(Tree, 0, len(t))
	for _, e := range slices.Backward(t) { // children come before their parents
		held[path.Dir(e.Path)] = true
		emptied := e.Type == Dir && held[e.Path] && !used[e.Path]
		if emptied || !keep(e) && !used[e.Path] {
			continue
		}
		used[path.Dir(e.Path)] = true
		kept = append(kept, e)
	}
	slices.Reverse(kept)
	return kept
}

// Without returns the entries that another tree does not have identically. Directories with remaining entries stay.
func (t Tree) Without(other Tree) Tree {
	return t.Filter(func(e Entry) bool {
		there, has := other.Find(e.Path)
		return e.Type == Dir || !has || !e.Equal(there)
	})
}

// Below returns the tree moved below a directory, which is added with its parents, mode 0755.
func (t Tree) Below(dir string) Tree {
	moved := make([]Entry, 0, len(t)+1)
	for parent := dir; parent != "/"; parent = path.Dir(parent) {
		moved = append(moved, Entry{Path: parent, Type: Dir, Mode: 0o755})
	}
	for _, e := range t {
		e.Path = dir + e.Path
		moved = append(moved, e)
	}
	return Sorted(moved)
}

// Files returns how many files and symbolic links the tree has.
func (t Tree) Files() int {
	n := 0
	for _, e := range t {
		if e.Type != Dir {
			n++
		}
	}
	return n
}

// Size returns the sum of all files' sizes.
func (t Tree) Size() size.Bytes {
	var sum int64
	for _, e := range t {
		sum += e.Size
	}
	return size.Bytes(sum)
}

// Listing prints one entry per line.
func (t Tree) Listing() string {
	var b strings.Builder
	for _, e := range t {
		b.WriteString(e.String() + "\n")
	}
	return b.String()
}

// modeBits translates Go's mode bits to those of chmod(2).
func modeBits(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// WriteTo writes the tree to an empty directory. content writes a file's bytes.
func (t Tree) WriteTo(root *os.Root, content func(io.Writer, digest.SHA256) error) error {
	if err := t.HasParents(); err != nil {
		return err
	}
	for _, e := range t {
		if err := e.WriteTo(root, strings.TrimPrefix(e.Path, "/"), content); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}

// WriteTo creates the entry under a name in a directory, without owner and xattrs. It must not exist.
func (e Entry) WriteTo(root *os.Root, name string, content func(io.Writer, digest.SHA256) error) error {
	mode := fs.FileMode(e.Mode & 0o777)
	switch e.Type {
	case Dir:
		return rooted.Mkdir(root, name, mode)
	case Symlink:
		return root.Symlink(e.Target, name)
	}
	return rooted.Write(root, name, mode, func(f io.Writer) error { return content(f, e.SHA256) })
}
