package rewrite

import (
	"cmp"
	"fmt"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// key is where an item is in its tree.
type key struct {
	object uint64
	kind   uint8
	offset uint64
}

func (k key) compare(other key) int {
	return cmp.Or(cmp.Compare(k.object, other.object), cmp.Compare(k.kind, other.kind), cmp.Compare(k.offset, other.offset))
}

func (k key) String() string { return fmt.Sprintf("(%d %d %d)", int64(k.object), k.kind, k.offset) }

func parseKey(b []byte) key { return key{ondisk.Uint64(b, 0), b[8], ondisk.Uint64(b, 9)} }

func (k key) put(b []byte) {
	ondisk.PutUint64(b, 0, k.object)
	b[8] = k.kind
	ondisk.PutUint64(b, 9, k.offset)
}

// item is a leaf of a tree.
type item struct {
	key  key
	data []byte
}
