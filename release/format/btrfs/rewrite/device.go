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
		{space.SystemStart, space.SystemLength, ondisk.GroupSystem},
		{space.MixedStart, space.MixedLength(uint64(w.base.Size)), ondisk.GroupData | ondisk.GroupMetadata},
	}
}

func (w *rewriter) deviceItems() []item {
	var items []item
	for _, g := range w.groups() {
		data := make([]byte, 48) // struct btrfs_dev_extent
		ondisk.PutUint64(data, 0, ondisk.ChunkTree)
		ondisk.PutUint64(data, 8, ondisk.FirstChunk)
		ondisk.PutUint64(data, 16, g.start)
		ondisk.PutUint64(data, 24, g.length)
		copy(data[32:], w.derivedUUID("chunk tree"))
		items = append(items, item{key{ondisk.DeviceObject, ondisk.DeviceExtent, g.start}, data})
	}
	return items
}

func (w *rewriter) chunkItems() []item {
	items := []item{{key{ondisk.DeviceObject, ondisk.DeviceItem, 1}, w.device()}}
	for _, g := range w.groups() {
		data := make([]byte, ondisk.ChunkLength)
		ondisk.PutUint64(data, ondisk.ChunkSize, g.length)
		ondisk.PutUint64(data, ondisk.ChunkOwner, ondisk.ExtentTree)
		ondisk.PutUint64(data, ondisk.ChunkStripeLen, space.StripeLength)
		ondisk.PutUint64(data, ondisk.ChunkType, g.kind)
		ondisk.PutUint32(data, ondisk.ChunkIOAlign, space.StripeLength)
		ondisk.PutUint32(data, ondisk.ChunkIOWidth, space.StripeLength)
		ondisk.PutUint32(data, ondisk.ChunkSectorSize, ondisk.BlockSize)
		data[ondisk.ChunkNumStripes], data[ondisk.ChunkSubStripes] = 1, 1
		ondisk.PutUint64(data, ondisk.ChunkDevice, ondisk.DeviceObject)
		ondisk.PutUint64(data, ondisk.ChunkPhysical, g.start)
		copy(data[ondisk.ChunkDeviceUUID:], w.derivedUUID("device"))
		items = append(items, item{key{ondisk.FirstChunk, ondisk.ChunkItem, g.start}, data})
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
	chunks := tree(ondisk.ChunkTree)
	bytesUsed := uint64(0)
	for _, g := range w.groups() {
		bytesUsed += used(tree(ondisk.ExtentTree).items, g)
	}
	system := make([]byte, ondisk.KeyLength+ondisk.ChunkLength)
	chunks.items[1].key.put(system)
	copy(system[ondisk.KeyLength:], chunks.items[1].data)
	return w.in.super.With(superblock.State{
		Size: uint64(w.base.Size), Used: bytesUsed, Generation: generation,
		Root: tree(ondisk.RootTree).pointer(), Chunks: chunks.pointer(),
		SystemChunks: system, Device: w.device(), HasZstd: w.hasZstd,
	}).Write(w.out)
}

// derivedUUID is for the UUIDs that mkfs.btrfs rolls dice for. They follow from the one in the tree blocks.
func (w *rewriter) derivedUUID(of string) []byte {
	id := superblock.DerivedUUID(of, w.base.MetadataUUID[:])
	return id[:]
}
