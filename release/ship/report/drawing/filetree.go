package drawing

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Node is a file, or a directory with what is in it, the largest first.
type Node struct {
	Name     string
	size     int64
	Children []*Node
}

// MarshalJSON writes a file as [name, size] and a directory as [name, [children]]: thousands of them are in a page.
func (n *Node) MarshalJSON() ([]byte, error) {
	if n.Children == nil {
		return json.Marshal([]any{n.Name, n.size})
	}
	return json.Marshal([]any{n.Name, n.Children})
}

// FileTree puts files into their directories, below the one that all of them are in. A directory with nothing but another one in it becomes one with that.
// What takes no room (links, empty files) is left out.
func FileTree(contents []manifest.Content) *Node {
	root := &Node{Children: []*Node{}}
	for _, c := range contents {
		if c.Size > 0 {
			root.add(strings.Split(strings.Trim(c.Path, "/"), "/"), c.Size)
		}
	}
	root.finish()
	return root
}

func (n *Node) add(path []string, size int64) {
	n.size += size
	if len(path) == 0 {
		return
	}
	at := slices.IndexFunc(n.Children, func(c *Node) bool { return c.Name == path[0] })
	if at < 0 {
		at = len(n.Children)
		n.Children = append(n.Children, &Node{Name: path[0]})
	}
	n.Children[at].add(path[1:], size)
}

// finish sorts and joins.
func (n *Node) finish() {
	for _, c := range n.Children {
		c.finish()
	}
	slices.SortFunc(n.Children, func(a, b *Node) int {
		return cmp.Or(cmp.Compare(b.size, a.size), strings.Compare(a.Name, b.Name))
	})
	if len(n.Children) == 1 && n.Children[0].Children != nil {
		only := n.Children[0]
		n.Name, n.Children = strings.TrimPrefix(n.Name+"/"+only.Name, "/"), only.Children
	}
}
