package btrfs

import (
	"crypto/sha256"
	"slices"
)

// group is a stretch of logical addresses, on the device in the same place.
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
		data[chunkNumStripes], data[chunkSubStripes] = 1, 1
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

// derivedUUID is for the UUIDs that mkfs.btrfs rolls dice for. They follow from the file system's (RFC 9562, version 8).
func (w *rewriter) derivedUUID(of string) []byte {
	sum := sha256.Sum256(append([]byte(of+"\x00"), w.base.UUID[:]...))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return sum[:16]
}
