package rewrite

import (
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/space"
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
	trees := []placed{{planTree(ondisk.ChunkTree, w.chunkItems()), []uint64{space.SystemStart}}} // one block; it has few items
	for _, p := range []*plan{
		planTree(ondisk.FSTree, w.files),
		planTree(ondisk.CsumTree, sumItems(w.extents)),
		planTree(ondisk.DeviceTree, w.deviceItems()),
		planTree(ondisk.DataRelocTree, reloc),
		planTree(ondisk.RootTree, roots),
	} {
		addresses, err := w.space.Blocks(p.blocks())
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
	copy(block[ondisk.HeaderFSID:], w.base.MetadataUUID[:])
	ondisk.PutUint64(block, ondisk.HeaderAddress, address)
	ondisk.PutUint64(block, ondisk.HeaderFlags, ondisk.Written|ondisk.HeaderMixedBackref)
	copy(block[ondisk.HeaderChunkUUID:], w.derivedUUID("chunk tree"))
	ondisk.PutUint64(block, ondisk.HeaderGeneration, generation)
	ondisk.PutUint32(block, 0, ondisk.BlockSum(block))
	_, err := w.out.WriteAt(block, int64(address))
	return err
}
