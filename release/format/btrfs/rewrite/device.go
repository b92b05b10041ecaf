package rewrite

import (
	"slices"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/space"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

// group is a stretch of logical addresses, on the device in the same place.
type group struct{ start, length, kind uint64 }

func (w *rewriter) groups() []group {
	return []group{
		{space.SystemStart, space.SystemLength, groupSystem},
		{space.MixedStart, space.MixedLength(uint64(w.base.Size)), groupData | groupMetadata},
	}
}

func (w *rewriter) deviceItems() []item {
	var items []item
	for _, g := range w.groups() {
		data := make([]byte, 48) // struct btrfs_dev_extent
		ondisk.PutUint64(data, 0, chunkTree)
		ondisk.PutUint64(data, 8, firstChunk)
		ondisk.PutUint64(data, 16, g.start)
		ondisk.PutUint64(data, 24, g.length)
		copy(data[32:], w.derivedUUID("chunk tree"))
		items = append(items, item{key{deviceObject, deviceExtent, g.start}, data})
	}
	return items
}

func (w *rewriter) chunkItems() []item {
	items := []item{{key{deviceObject, deviceItem, 1}, w.device()}}
	for _, g := range w.groups() {
		data := make([]byte, chunkLength)
		ondisk.PutUint64(data, chunkSize, g.length)
		ondisk.PutUint64(data, chunkOwner, extentTree)
		ondisk.PutUint64(data, chunkStripeLen, space.StripeLength)
		ondisk.PutUint64(data, chunkType, g.kind)
		ondisk.PutUint32(data, chunkIOAlign, space.StripeLength)
		ondisk.PutUint32(data, chunkIOWidth, space.StripeLength)
		ondisk.PutUint32(data, chunkSectorSize, ondisk.BlockSize)
		data[chunkNumStripes], data[chunkSubStripes] = 1, 1
		ondisk.PutUint64(data, chunkDevice, deviceObject)
		ondisk.PutUint64(data, chunkPhysical, g.start)
		copy(data[chunkDeviceUUID:], w.derivedUUID("device"))
		items = append(items, item{key{firstChunk, chunkItem, g.start}, data})
	}
	return items
}

// device is the device item, which the superblock has a copy of.
func (w *rewriter) device() []byte {
	used := uint64(0)
	for _, g := range w.groups() {
		used += g.length
	}
	return w.in.super.Device(uint64(w.base.Size), used, w.derivedUUID("device"))
}

// writeSuper writes the superblock and its mirror.
func (w *rewriter) writeSuper(trees []placed) error {
	tree := func(owner uint64) placed {
		return trees[slices.IndexFunc(trees, func(t placed) bool { return t.owner == owner })]
	}
	chunks := tree(chunkTree)
	bytesUsed := uint64(0)
	for _, g := range w.groups() {
		bytesUsed += used(tree(extentTree).items, g)
	}
	system := make([]byte, keyLength+chunkLength)
	chunks.items[1].key.put(system)
	copy(system[keyLength:], chunks.items[1].data)
	return w.in.super.With(superblock.State{
		Size: uint64(w.base.Size), Used: bytesUsed, Generation: generation,
		Root: tree(rootTree).pointer(), Chunks: chunks.pointer(),
		SystemChunks: system, Device: w.device(), HasZstd: w.hasZstd,
	}).Write(w.out)
}

// derivedUUID is for the UUIDs that mkfs.btrfs rolls dice for. They follow from the one in the tree blocks.
func (w *rewriter) derivedUUID(of string) []byte {
	id := superblock.DerivedUUID(of, w.base.MetadataUUID[:])
	return id[:]
}
