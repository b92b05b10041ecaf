package report

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// node is a file, or a directory with what is in it, the largest first.
type node struct {
	name     string
	size     int64
	children []*node
}

// MarshalJSON writes a file as [name, size] and a directory as [name, [children]]: thousands of them are in a page.
func (n *node) MarshalJSON() ([]byte, error) {
	if n.children == nil {
		return json.Marshal([]any{n.name, n.size})
	}
	return json.Marshal([]any{n.name, n.children})
}

// fileTree puts files into their directories, below the one that all of them are in. A directory with nothing but another one in it becomes one with that.
// What takes no room (links, empty files) is left out.
func fileTree(contents []manifest.Content) *node {
	root := &node{children: []*node{}}
	for _, c := range contents {
		if c.Size > 0 {
			root.add(strings.Split(strings.Trim(c.Path, "/"), "/"), c.Size)
		}
	}
	root.finish()
	return root
}

func (n *node) add(path []string, size int64) {
	n.size += size
	if len(path) == 0 {
		return
	}
	at := slices.IndexFunc(n.children, func(c *node) bool { return c.name == path[0] })
	if at < 0 {
		at = len(n.children)
		n.children = append(n.children, &node{name: path[0]})
	}
	n.children[at].add(path[1:], size)
}

// finish sorts and joins.
func (n *node) finish() {
	for _, c := range n.children {
		c.finish()
	}
	slices.SortFunc(n.children, func(a, b *node) int {
		return cmp.Or(cmp.Compare(b.size, a.size), strings.Compare(a.name, b.name))
	})
	if len(n.children) == 1 && n.children[0].children != nil {
		only := n.children[0]
		n.name, n.children = strings.TrimPrefix(n.name+"/"+only.name, "/"), only.children
	}
}
