package initramfs

import (
	"fmt"
	"path"
	"strings"
)

const (
	maxTarget = 4096    // PATH_MAX, with the final zero
	maxLinks  = 40      // that a kernel follows in one path (MAXSYMLINKS)
	maxNames  = 1 << 20 // directories and links that are remembered; the largest initramfs has some thousands
)

// names are the directories and symbolic links unpacked so far, by path.
type names map[string]link

// link is where a symbolic link leads, or empty for a directory.
type link struct{ target string }

// add records a member as a kernel unpacks it, and returns an error if the kernel would drop or destroy something.
func (n names) add(m Member) error {
	dir, base := path.Split(path.Clean("/" + m.Name))
	links := maxLinks
	parent, there := n.follow(dir, &links)
	if !there {
		return fmt.Errorf("%s: no directory %s before it, so kernels drop it", printable(m.Name), printable(strings.Trim(dir, "/")))
	}
	if base == "" { // the root itself
		return nil
	}
	name := path.Join(parent, base)
	old, was := n[name]
	if !m.IsDir() && !m.IsLink() {
		delete(n, name)
		return nil
	}
	if n[name] = (link{m.Target}); len(n) > maxNames {
		return fmt.Errorf("%s: more than %d directories and symbolic links", printable(m.Name), maxNames)
	}
	if m.IsDir() && was && old.target != "" {
		return fmt.Errorf("%s: a directory takes the place of the symbolic link to %s", printable(m.Name), printable(old.target))
	}
	return nil
}

// follow resolves the symbolic links in a directory's path, relative to the root, and reports whether the directory exists.
func (n names) follow(dir string, links *int) (string, bool) {
	at := ""
	for part := range strings.SplitSeq(dir, "/") {
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			at = strings.TrimPrefix(path.Dir("/"+at), "/")
			continue
		}
		next := path.Join(at, part)
		entry, there := n[next]
		if !there {
			return "", false
		}
		if entry.target == "" {
			at = next
			continue
		}
		if *links--; *links < 0 {
			return "", false
		}
		target := entry.target
		if !path.IsAbs(target) {
			target = at + "/" + target
		}
		if at, there = n.follow(target, links); !there {
			return "", false
		}
	}
	return at, true
}
