package target

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tree"
)

// IsDebian tells whether the base consists of Debian packages, so that others find their dependencies in it.
func (b *Base) IsDebian() bool { return len(b.Status) > 0 }

// LibraryDir is the directory of the base's C library, where its programs load libraries from.
func (b *Base) LibraryDir() (string, error) {
	for _, e := range b.Usr {
		if path.Base(e.Path) == "libc.so.6" && e.Type != tree.Dir {
			return path.Dir(e.Path), nil
		}
	}
	return "", fmt.Errorf("base %s has no libc.so.6 in its /usr", b.Name)
}

// Has tells whether the base has a path, itself or through a directory that is a link.
func (b *Base) Has(name string) bool {
	_, has := b.Usr.Find(b.Place(name))
	return has
}

// maxLinks is how many links the kernel follows in one path (path_resolution(7)).
const maxLinks = 40

// Place returns a path below /usr as the base has it: parent directories may be links there,
// such as Flatcar's /usr/sbin, a link to bin. The last part of the path is not followed.
func (b *Base) Place(name string) string {
	return path.Join(b.directory(path.Dir(name), maxLinks), path.Base(name))
}

// directory follows a directory that is a link to another below /usr, and the directories above it.
func (b *Base) directory(dir string, links int) string {
	if dir == "/usr" || !strings.HasPrefix(dir, "/usr/") {
		return dir
	}
	placed := path.Join(b.directory(path.Dir(dir), links), path.Base(dir))
	e, has := b.Usr.Find(placed)
	if !has || e.Type != tree.Symlink || links == 0 {
		return placed
	}
	to := absolute(placed, e.Target)
	if !strings.HasPrefix(to, "/usr/") {
		return placed
	}
	if to = b.directory(to, links-1); b.isDir(to) {
		return to
	}
	return placed
}

func (b *Base) isDir(name string) bool {
	e, has := b.Usr.Find(name)
	return has && e.Type == tree.Dir
}

// Lay returns a tree in the layout of the base. If the base has a link where the tree has a directory, the directory would
// hide the link and everything behind it; so its content moves to the link's target, and links that then lead to
// themselves are dropped. Two different entries at one path are an error.
func (b *Base) Lay(t tree.Tree) (tree.Tree, error) {
	laid := map[string]tree.Entry{}
	for _, e := range t {
		was := e.Path
		if e.Path = b.Place(was); e.Type == tree.Dir {
			e.Path = b.directory(was, maxLinks)
		}
		if e.Type == tree.Symlink {
			to := b.Place(absolute(was, e.Target))
			if to == e.Path {
				continue
			}
			if e.Path != was && !path.IsAbs(e.Target) {
				e.Target = relative(path.Dir(e.Path), to)
			}
		}
		other, taken := laid[e.Path]
		switch {
		case !taken:
			laid[e.Path] = e
		case e.Type == tree.Dir && other.Type == tree.Dir || e.Equal(other):
		default:
			return nil, fmt.Errorf("%s moves to %s, which exists with other content; prune one", was, e.Path)
		}
	}
	for name := range maps.Clone(laid) {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if _, there := laid[dir]; !there {
				laid[dir] = tree.Entry{Path: dir, Type: tree.Dir, Mode: b.modeOf(dir)}
			}
		}
	}
	return tree.Sorted(slices.Collect(maps.Values(laid))), nil
}

func absolute(link, target string) string {
	if path.IsAbs(target) {
		return path.Clean(target)
	}
	return path.Join(path.Dir(link), target)
}

// relative returns the relative link target from a directory to a path, both absolute and clean.
func relative(dir, to string) string {
	up := ""
	for to != dir && !strings.HasPrefix(to, dir+"/") {
		up, dir = up+"../", path.Dir(dir)
		if dir == "/" {
			return up + to[1:]
		}
	}
	return up + strings.TrimPrefix(to[len(dir):], "/")
}

func (b *Base) modeOf(dir string) uint32 {
	if e, has := b.Usr.Find(dir); has {
		return e.Mode
	}
	return 0o755
}
