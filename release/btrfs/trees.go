package btrfs

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"slices"
)

// writeTrees writes all trees and, last, the superblock.
func (w *rewriter) writeTrees() error {
	reloc, err := w.relocItems()
	if err != nil {
		return err
	}
	roots, err := w.rootItems()
	if err != nil {
		return err
	}
	trees := []placed{{planTree(chunkTree, w.chunkItems()), []uint64{systemStart}}} // one block; it has few items
	for _, p := range []*plan{
		planTree(fsTree, w.files),
		planTree(csumTree, sumItems(w.extents)),
		planTree(deviceTree, w.deviceItems()),
		planTree(dataRelocTree, reloc),
		planTree(rootTree, roots),
	} {
		addresses, err := w.space.blocks(p.blocks())
		if err != nil {
			return err
		}
		trees = append(trees, placed{p, addresses})
	}
	extents, err := w.placeExtentTree(trees)
	if err != nil {
		return err
	}
	trees = append(trees, extents)
	linkRoots(roots, trees)
	for _, t := range trees {
		if err := t.each(w.writeBlock); err != nil {
			return err
		}
	}
	return w.writeSuper(trees)
}

// writeBlock completes a tree block and writes it.
func (w *rewriter) writeBlock(address uint64, block []byte) error {
	copy(block[headerFSID:], w.base.UUID[:])
	setField64(block, headerAddress, address)
	setField64(block, headerFlags, headerWritten|headerMixedBackref)
	copy(block[headerChunkUUID:], w.derivedUUID("chunk tree"))
	setField64(block, headerGeneration, generation)
	setField32(block, 0, blockSum(block))
	_, err := w.out.WriteAt(block, int64(address))
	return err
}

// derivedUUID is for the UUIDs that mkfs.btrfs rolls dice for. They follow from the file system's (RFC 9562, version 8).
func (w *rewriter) derivedUUID(of string) []byte {
	sum := sha256.Sum256(append([]byte(of+"\x00"), w.base.UUID[:]...))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return sum[:16]
}

// Checksum items are as long as a leaf takes (kernel fs/btrfs/file-item.c, MAX_CSUM_ITEMS).
const maxSums = (blockSize-headerLength-2*itemLength)/4 - 1

func sumItems(extents []extent) []item {
	sorted := slices.Clone(extents)
	slices.SortFunc(sorted, func(a, b extent) int { return cmp.Compare(a.address, b.address) })
	var items []item
	var end uint64
	for _, e := range sorted {
		for i, sum := range e.sums {
			at := e.address + uint64(i)*blockSize
			if last := len(items) - 1; last < 0 || end != at || len(items[last].data) == maxSums*4 {
				items = append(items, item{key: key{csumObject, extentCsum, at}})
			}
			last := &items[len(items)-1]
			last.data = append(last.data, 0, 0, 0, 0)
			setField32(last.data, len(last.data)-4, sum)
			end = at + blockSize
		}
	}
	return items
}

// relocItems is the tree that the kernel uses when it balances. It holds an empty directory.
func (w *rewriter) relocItems() ([]item, error) {
	items, err := w.in.tree(dataRelocTree)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		if it.key.object != firstInode {
			return nil, fmt.Errorf("the relocation tree has an item %v; wanted an empty directory, as after a complete balance", it.key)
		}
		if it.key.kind == inodeItem && len(it.data) == inodeLength {
			w.normaliseInode(it.data)
		}
	}
	return items, nil
}

// chunks are where logical addresses are on the device: in the same place.
type group struct{ start, length, kind uint64 }

func (w *rewriter) groups() []group {
	return []group{
		{systemStart, systemLength, groupSystem},
		{mixedStart, mixedLength(uint64(w.base.Size)), groupData | groupMetadata},
	}
}

func (w *rewriter) deviceItems() []item {
	var items []item
	for _, g := range w.groups() {
		data := make([]byte, 48) // struct btrfs_dev_extent
		setField64(data, 0, chunkTree)
		setField64(data, 8, firstChunk)
		setField64(data, 16, g.start)
		setField64(data, 24, g.length)
		copy(data[32:], w.derivedUUID("chunk tree"))
		items = append(items, item{key{deviceObject, deviceExtent, g.start}, data})
	}
	return items
}

func (w *rewriter) chunkItems() []item {
	items := []item{{key{deviceObject, deviceItem, 1}, w.device()}}
	for _, g := range w.groups() {
		data := make([]byte, chunkLength)
		setField64(data, chunkSize, g.length)
		setField64(data, chunkOwner, extentTree)
		setField64(data, chunkStripeLen, stripeLength)
		setField64(data, chunkType, g.kind)
		setField32(data, chunkIOAlign, stripeLength)
		setField32(data, chunkIOWidth, stripeLength)
		setField32(data, chunkSectorSize, blockSize)
		setField16(data, chunkNumStripes, 1)
		setField16(data, chunkSubStripes, 1)
		setField64(data, chunkDevice, deviceObject)
		setField64(data, chunkPhysical, g.start)
		copy(data[chunkDeviceUUID:], w.derivedUUID("device"))
		items = append(items, item{key{firstChunk, chunkItem, g.start}, data})
	}
	return items
}

// device is the device item, which the superblock has a copy of.
func (w *rewriter) device() []byte {
	data := slices.Clone(w.in.super.raw[superDevItem:][:devItemLength])
	used := uint64(0)
	for _, g := range w.groups() {
		used += g.length
	}
	setField64(data, devItemTotalBytes, uint64(w.base.Size))
	setField64(data, devItemBytesUsed, used)
	setField64(data, devItemGeneration, 0)
	copy(data[devItemUUID:], w.derivedUUID("device"))
	return data
}

// rootItems takes over what the root tree says about the trees that are written, and refuses a file system with others.
// Not written are the trees that only serve writers, who make them again when they need them: free space, UUIDs, block groups.
func (w *rewriter) rootItems() ([]item, error) {
	var items []item
	for _, it := range w.in.roots {
		switch it.key.object {
		case uuidTree, freeSpaceTree, groupTree, freeSpaceObject:
			continue
		case extentTree, deviceTree, fsTree, csumTree, dataRelocTree, rootTreeDir:
		default:
			if it.key.object >= firstInode && it.key.object <= lastInode && it.key.kind != rootItem {
				continue // the older form of the free space cache
			}
			return nil, fmt.Errorf("the root tree has an item %v; wanted a file system with one subvolume and no quota", it.key)
		}
		if err := w.normaliseRoot(it); err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, nil
}

func (w *rewriter) normaliseRoot(it item) error {
	switch {
	case it.key.kind == inodeItem && len(it.data) == inodeLength:
		w.normaliseInode(it.data)
	case it.key.kind == dirItem:
		// The directory of the root tree has one entry: the default subvolume.
		if len(it.data) < keyLength || parseKey(it.data).object != fsTree {
			return fmt.Errorf("the default subvolume is another one than the top; wanted %d", fsTree)
		}
		return normaliseEntries(it)
	case it.key.kind == rootItem && len(it.data) == rootLength:
		w.normaliseInode(it.data[:inodeLength])
		setField64(it.data, rootLastSnapshot, 0)
		if it.key.object != fsTree {
			return nil
		}
		copy(it.data[rootUUID:], w.derivedUUID("top subvolume"))
		setField64(it.data, rootCTransID, generation)
		for _, at := range []int{rootCtime, rootOtime} {
			setField64(it.data, at, uint64(w.epoch.Unix()))
			setField32(it.data, at+8, uint32(w.epoch.Nanosecond()))
		}
	}
	return nil
}

// linkRoots tells the items of the root tree where the trees are.
func linkRoots(roots []item, trees []placed) {
	for _, it := range roots {
		at := slices.IndexFunc(trees, func(t placed) bool { return t.owner == it.key.object })
		if it.key.kind != rootItem || at < 0 {
			continue
		}
		setField64(it.data, rootGeneration, generation)
		setField64(it.data, rootGeneration2, generation)
		setField64(it.data, rootAddress, trees[at].root())
		setField64(it.data, rootBytesUsed, uint64(trees[at].blocks())*blockSize)
		it.data[rootLevel] = trees[at].level()
	}
}

// placeExtentTree makes the tree that accounts for all data, all blocks of the other trees, and its own.
// It starts with one block and takes more until they hold what they have to say about themselves:
// more blocks never need fewer, so the first number that suffices is the right one.
func (w *rewriter) placeExtentTree(others []placed) (placed, error) {
	fixed := dataItems(w.extents)
	for _, t := range others {
		fixed = append(fixed, t.accounts()...)
	}
	for count := 1; ; {
		space := w.space.clone()
		addresses, err := space.blocks(count)
		if err != nil {
			return placed{}, err
		}
		// Accounts are as long at each level, and the levels are not known yet: take all blocks for leaves.
		flat := &plan{owner: extentTree, levels: [][]span{make([]span, count)}}
		t := placed{planTree(extentTree, w.accounts(fixed, placed{flat, addresses})), addresses}
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
		setField64(data, 0, used(items, g))
		setField64(data, 8, firstChunk)
		setField64(data, 16, g.kind)
		items = append(items, item{key{g.start, blockGroupItem, g.length}, data})
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
		case extentItem:
			total += it.key.offset
		case metadataItem:
			total += blockSize
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
			setField64(data, 0, 1)
			setField64(data, 8, generation)
			setField64(data, 16, extentIsTree)
			data[24] = treeBlockRef
			setField64(data, 25, p.owner)
			items = append(items, item{key{p.addresses[i], metadataItem, uint64(level)}, data})
			i++
		}
	}
	return items
}

// maxInlineRefs is how many references an extent item holds before they get items of their own
// (kernel fs/btrfs/ctree.h, BTRFS_MAX_EXTENT_ITEM_SIZE: a 16th of a leaf).
const maxInlineRefs = ((blockSize-headerLength)/16 - 24) / (1 + dataRefLength)

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
				data = append(append(data, extentDataRef), ref.bytes()...)
			} else {
				items = append(items, item{key{e.address, extentDataRef, ref.hash()}, ref.bytes()})
			}
		}
		setField64(data, 0, total)
		setField64(data, 8, generation)
		setField64(data, 16, extentIsData)
		items = append(items, item{key{e.address, extentItem, e.length}, data})
	}
	return items
}

func (r dataRef) bytes() []byte {
	data := make([]byte, dataRefLength)
	setField64(data, 0, fsTree)
	setField64(data, 8, r.inode)
	setField64(data, 16, r.offset)
	setField32(data, 24, r.count)
	return data
}

// hash orders references (kernel fs/btrfs/extent-tree.c, hash_extent_data_ref).
func (r dataRef) hash() uint64 {
	b := r.bytes()
	high := ^crc32.Update(0, castagnoli, b[:8])
	low := ^crc32.Update(0, castagnoli, b[8:24])
	return uint64(high)<<31 ^ uint64(low)
}

// writeSuper writes the superblock and its mirror.
func (w *rewriter) writeSuper(trees []placed) error {
	tree := func(owner uint64) placed {
		return trees[slices.IndexFunc(trees, func(t placed) bool { return t.owner == owner })]
	}
	root, chunks := tree(rootTree), tree(chunkTree)
	bytesUsed := uint64(0)
	for _, g := range w.groups() {
		bytesUsed += used(tree(extentTree).items, g)
	}
	raw := slices.Clone(w.in.super.raw)
	setField64(raw, superTotalBytes, uint64(w.base.Size))
	setField64(raw, superBytesUsed, bytesUsed)
	setField64(raw, superGeneration, generation)
	setField64(raw, superRoot, root.root())
	raw[superRootLevel] = root.level()
	setField64(raw, superChunkRoot, chunks.root())
	raw[superChunkRootLevel] = chunks.level()
	setField64(raw, superChunkGeneration, generation)
	setField64(raw, superLogRootTransID, 0)
	raw[superLogRootLevel] = 0
	setField64(raw, superCompatRO, field64(raw, superCompatRO)&compatROVerity)
	if w.hasZstd {
		setField64(raw, superIncompat, field64(raw, superIncompat)|incompatCompressZstd)
	}
	copy(raw[superDevItem:], w.device())
	setField64(raw, superCacheGeneration, 0)
	setField64(raw, superUUIDGeneration, 0)
	clear(raw[superSysArray:superPadding]) // with the backup roots, which led to older states
	system := chunks.items[1]
	system.key.put(raw[superSysArray:])
	copy(raw[superSysArray+keyLength:], system.data)
	setField32(raw, superSysArraySize, keyLength+chunkLength)
	return w.writeSupers(raw)
}

func (w *rewriter) writeSupers(raw []byte) error {
	for _, at := range []uint64{superOffset, superMirrorOffset} {
		if at+superLength > uint64(w.base.Size) {
			continue
		}
		setField64(raw, superBytenr, at)
		setField32(raw, 0, blockSum(raw))
		if _, err := w.out.WriteAt(raw, int64(at)); err != nil {
			return err
		}
	}
	return nil
}
