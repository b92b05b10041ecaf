package rewrite

import (
	"cmp"
	"hash/crc32"
	"slices"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// placeExtentTree makes the tree that accounts for all data, all blocks of the other trees, and its own.
// It starts with one block and takes more until they hold what they have to say about themselves:
// more blocks never need fewer, so the first number that suffices is the right one.
func (w *rewriter) placeExtentTree(others []placed) (placed, error) {
	fixed := dataItems(w.extents)
	for _, t := range others {
		fixed = append(fixed, t.accounts()...)
	}
	for count := 1; ; {
		room := w.space.Clone()
		addresses, err := room.Blocks(count)
		if err != nil {
			return placed{}, err
		}
		// Accounts are as long at each level, and the levels are not known yet: take all blocks for leaves.
		flat := &plan{owner: ondisk.ExtentTree, levels: [][]span{make([]span, count)}}
		t := placed{planTree(ondisk.ExtentTree, w.accounts(fixed, placed{flat, addresses})), addresses}
		if t.blocks() == count {
			t.items = w.accounts(fixed, t)
			return t, nil
		}
		count = t.blocks()
	}
}

// accounts are the items of the extent tree, in order.
func (w *rewriter) accounts(fixed []item, own placed) []item {
	items := append(slices.Clone(fixed), own.accounts()...)
	for _, g := range w.groups() {
		data := make([]byte, 24) // struct btrfs_block_group_item
		ondisk.PutUint64(data, 0, used(items, g))
		ondisk.PutUint64(data, 8, ondisk.FirstChunk)
		ondisk.PutUint64(data, 16, g.kind)
		items = append(items, item{key{g.start, ondisk.BlockGroupItem, g.length}, data})
	}
	slices.SortFunc(items, func(a, b item) int { return a.key.compare(b.key) })
	return items
}

// used is how many bytes of a group the items account for.
func used(items []item, g group) uint64 {
	total := uint64(0)
	for _, it := range items {
		if it.key.object < g.start || it.key.object >= g.start+g.length {
			continue
		}
		switch it.key.kind {
		case ondisk.ExtentItem:
			total += it.key.offset
		case ondisk.MetadataItem:
			total += ondisk.BlockSize
		}
	}
	return total
}

const (
	extentIsData = 1 << 0
	extentIsTree = 1 << 1
)

// accounts are the extent items of a tree's blocks.
func (p placed) accounts() []item {
	var items []item
	i := 0
	for level, spans := range p.levels {
		for range spans {
			data := make([]byte, 24+9) // struct btrfs_extent_item, btrfs_extent_inline_ref
			ondisk.PutUint64(data, 0, 1)
			ondisk.PutUint64(data, 8, generation)
			ondisk.PutUint64(data, 16, extentIsTree)
			data[24] = ondisk.TreeBlockRef
			ondisk.PutUint64(data, 25, p.owner)
			items = append(items, item{key{p.addresses[i], ondisk.MetadataItem, uint64(level)}, data})
			i++
		}
	}
	return items
}

// maxInlineRefs is how many references an extent item holds before they get items of their own
// (kernel fs/btrfs/ctree.h, BTRFS_MAX_EXTENT_ITEM_SIZE: a 16th of a leaf).
const maxInlineRefs = ((ondisk.BlockSize-ondisk.HeaderLength)/16 - 24) / (1 + dataRefLength)

const dataRefLength = 28 // struct btrfs_extent_data_ref

// dataItems are the extent items of data, with references in descending order of their hash.
func dataItems(extents []extent) []item {
	var items []item
	for _, e := range extents {
		refs := slices.Clone(e.refs)
		slices.SortFunc(refs, func(a, b dataRef) int {
			return cmp.Or(cmp.Compare(b.hash(), a.hash()), cmp.Compare(a.inode, b.inode), cmp.Compare(a.offset, b.offset))
		})
		data := make([]byte, 24) // struct btrfs_extent_item
		total := uint64(0)
		for i, ref := range refs {
			total += uint64(ref.count)
			if i < maxInlineRefs {
				data = append(append(data, ondisk.ExtentDataRef), ref.bytes()...)
			} else {
				items = append(items, item{key{e.address, ondisk.ExtentDataRef, ref.hash()}, ref.bytes()})
			}
		}
		ondisk.PutUint64(data, 0, total)
		ondisk.PutUint64(data, 8, generation)
		ondisk.PutUint64(data, 16, extentIsData)
		items = append(items, item{key{e.address, ondisk.ExtentItem, e.length}, data})
	}
	return items
}

func (r dataRef) bytes() []byte {
	data := make([]byte, dataRefLength)
	ondisk.PutUint64(data, 0, ondisk.FSTree)
	ondisk.PutUint64(data, 8, r.inode)
	ondisk.PutUint64(data, 16, r.offset)
	ondisk.PutUint32(data, 24, r.count)
	return data
}

// hash orders references (kernel fs/btrfs/extent-tree.c, hash_extent_data_ref).
func (r dataRef) hash() uint64 {
	b := r.bytes()
	high := ^crc32.Update(0, ondisk.Castagnoli, b[:8])
	low := ^crc32.Update(0, ondisk.Castagnoli, b[8:24])
	return uint64(high)<<31 ^ uint64(low)
}

// Checksum items are as long as a leaf takes (kernel fs/btrfs/file-item.c, MAX_CSUM_ITEMS).
const maxSums = (ondisk.BlockSize-ondisk.HeaderLength-2*ondisk.ItemLength)/4 - 1

func sumItems(extents []extent) []item {
	sorted := slices.Clone(extents)
	slices.SortFunc(sorted, func(a, b extent) int { return cmp.Compare(a.address, b.address) })
	var items []item
	var end uint64
	for _, e := range sorted {
		for i, sum := range e.sums {
			at := e.address + uint64(i)*ondisk.BlockSize
			if last := len(items) - 1; last < 0 || end != at || len(items[last].data) == maxSums*4 {
				items = append(items, item{key: key{ondisk.CsumObject, ondisk.ExtentCsum, at}})
			}
			last := &items[len(items)-1]
			last.data = append(last.data, 0, 0, 0, 0)
			ondisk.PutUint32(last.data, len(last.data)-4, sum)
			end = at + ondisk.BlockSize
		}
	}
	return items
}
