package rewrite

import (
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// rootItems takes over what the root tree says about the trees that are written, and refuses a file system with others.
// Not written are the trees that only serve writers, who make them again when they need them: free space, UUIDs, block groups.
func (w *rewriter) rootItems() ([]item, error) {
	var items []item
	for _, it := range w.in.roots {
		switch it.key.object {
		case ondisk.UUIDTree, ondisk.FreeSpaceTree, ondisk.GroupTree, ondisk.FreeSpaceObject:
			continue
		case ondisk.ExtentTree, ondisk.DeviceTree, ondisk.FSTree, ondisk.CsumTree, ondisk.DataRelocTree, ondisk.RootTreeDir:
		default:
			if it.key.object >= ondisk.FirstInode && it.key.object <= ondisk.LastInode && it.key.kind != ondisk.RootItem {
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
	case it.key.kind == ondisk.InodeItem && len(it.data) == ondisk.InodeLength:
		w.normaliseInode(it.data)
	case it.key.kind == ondisk.DirItem:
		// The directory of the root tree has one entry: the default subvolume.
		if len(it.data) < ondisk.KeyLength || parseKey(it.data).object != ondisk.FSTree {
			return fmt.Errorf("the default subvolume is another one than the top; wanted %d", ondisk.FSTree)
		}
		return normaliseEntries(it)
	case it.key.kind == ondisk.RootItem && len(it.data) == ondisk.RootLength:
		w.normaliseInode(it.data[:ondisk.InodeLength])
		ondisk.PutUint64(it.data, ondisk.RootLastSnapshot, 0)
		if it.key.object != ondisk.FSTree {
			return nil
		}
		copy(it.data[ondisk.RootUUID:], w.derivedUUID("top subvolume"))
		ondisk.PutUint64(it.data, ondisk.RootCTransID, generation)
		for _, at := range []int{ondisk.RootCtime, ondisk.RootOtime} {
			ondisk.PutUint64(it.data, at, uint64(w.epoch.Unix()))
			ondisk.PutUint32(it.data, at+8, uint32(w.epoch.Nanosecond()))
		}
	}
	return nil
}

// linkRoots tells the items of the root tree where the trees are.
func linkRoots(roots []item, trees []placed) {
	for _, it := range roots {
		at := slices.IndexFunc(trees, func(t placed) bool { return t.owner == it.key.object })
		if it.key.kind != ondisk.RootItem || at < 0 {
			continue
		}
		ondisk.PutUint64(it.data, ondisk.RootGeneration, generation)
		ondisk.PutUint64(it.data, ondisk.RootGeneration2, generation)
		ondisk.PutUint64(it.data, ondisk.RootAddress, trees[at].root())
		ondisk.PutUint64(it.data, ondisk.RootBytesUsed, uint64(trees[at].blocks())*ondisk.BlockSize)
		it.data[ondisk.RootLevel] = trees[at].level()
	}
}

// relocItems is the tree that the kernel uses when it balances. It holds an empty directory.
func (w *rewriter) relocItems() ([]item, error) {
	items, err := w.in.tree(ondisk.DataRelocTree)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		if it.key.object != ondisk.FirstInode {
			return nil, fmt.Errorf("the relocation tree has an item %v; wanted an empty directory, as after a complete balance", it.key)
		}
		if it.key.kind == ondisk.InodeItem && len(it.data) == ondisk.InodeLength {
			w.normaliseInode(it.data)
		}
	}
	return items, nil
}
