package rewrite

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/flatcar/oem-sysext/release/format/btrfs/codec"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// planFiles takes over the items of the file tree and collects the pieces of data that they need.
func (w *rewriter) planFiles(items []item) error {
	for len(items) > 0 {
		n := slices.IndexFunc(items, func(it item) bool { return it.key.object != items[0].key.object })
		if n < 0 {
			n = len(items)
		}
		if err := w.planInode(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func (w *rewriter) planInode(items []item) error {
	inode := items[0]
	if inode.key.kind != ondisk.InodeItem || len(inode.data) != ondisk.InodeLength {
		return fmt.Errorf("item %v is no inode; a file system was wanted that is unmounted and has one subvolume", inode.key)
	}
	if unknown := ondisk.Uint64(inode.data, ondisk.InodeFlags) &^ ondisk.KnownFlags; unknown != 0 {
		return fmt.Errorf("inode %d has unknown flags %#x; wanted some of %#x", inode.key.object, unknown, uint64(ondisk.KnownFlags))
	}
	w.normaliseInode(inode.data)
	var kept, data []item
	var extents []fileExtent
	for _, it := range items {
		switch it.key.kind {
		case ondisk.InodeItem, ondisk.InodeRef, ondisk.InodeExtref, ondisk.VerityDescItem, ondisk.VerityMerkle:
			kept = append(kept, it)
		case ondisk.DirItem, ondisk.DirIndex, ondisk.XattrItem:
			if err := normaliseEntries(it); err != nil {
				return err
			}
			kept = append(kept, it)
		case ondisk.ExtentData:
			e, err := parseFileExtent(it)
			if err != nil {
				return err
			}
			data, extents = append(data, it), append(extents, e)
		default:
			return fmt.Errorf("item %v has an unknown kind", it.key)
		}
	}
	coded := slices.ContainsFunc(extents, w.isNew)
	if coded {
		ondisk.PutUint64(inode.data, ondisk.InodeFlags, ondisk.Uint64(inode.data, ondisk.InodeFlags)&^(ondisk.FlagNoDataSum|ondisk.FlagNoDataCow|ondisk.FlagPrealloc))
	}
	if inode.key.object == ondisk.FirstInode {
		w.compression = compressionOf(kept)
	}
	w.files = append(w.files, w.compression.set(kept)...)
	if coded {
		w.planCoded(inode, extents)
		return nil
	}
	for i, it := range data {
		if err := w.planMoved(it, extents[i]); err != nil {
			return err
		}
	}
	return nil
}

// isNew tells whether an extent was written since the edit began.
// Space that was allocated ahead has no content to be kept, so it is new too.
func (w *rewriter) isNew(e fileExtent) bool {
	return e.generation > w.base.Generation || e.kind == ondisk.TypePrealloc
}

// normaliseInode sets what the kernel took from its clock and its counters.
// Access, change and creation time follow the modification time: they would tell when the image was made.
func (w *rewriter) normaliseInode(inode []byte) {
	ondisk.PutUint64(inode, ondisk.InodeGeneration, generation)
	ondisk.PutUint64(inode, ondisk.InodeTransID, generation)
	ondisk.PutUint64(inode, ondisk.InodeGroup, 0)
	ondisk.PutUint64(inode, ondisk.InodeSequence, 0)
	seconds, nanos := int64(ondisk.Uint64(inode, ondisk.InodeMtime)), ondisk.Uint32(inode, ondisk.InodeMtime+8)
	if time.Unix(seconds, int64(nanos)).After(w.epoch) {
		seconds, nanos = w.epoch.Unix(), uint32(w.epoch.Nanosecond())
	}
	for _, at := range []int{ondisk.InodeAtime, ondisk.InodeCtime, ondisk.InodeMtime, ondisk.InodeOtime} {
		ondisk.PutUint64(inode, at, uint64(seconds))
		ondisk.PutUint32(inode, at+8, nanos)
	}
}

// normaliseEntries sets the transaction of each directory entry or attribute of an item.
func normaliseEntries(it item) error {
	rest := it.data
	for entry := range entries(it.data) {
		ondisk.PutUint64(entry, ondisk.DirTransID, generation)
		rest = rest[len(entry):]
	}
	if len(rest) > 0 {
		return fmt.Errorf("item %v ends %d bytes into an entry", it.key, len(rest))
	}
	return nil
}

// entries are the directory entries or attributes in an item's data. What is cut off is left out.
func entries(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(data) >= ondisk.DirLength {
			length := ondisk.DirLength + int(ondisk.Uint16(data, ondisk.DirNameLength)) + int(ondisk.Uint16(data, ondisk.DirDataLength))
			if length > len(data) || !yield(data[:length]) {
				return
			}
			data = data[length:]
		}
	}
}

// planMoved takes over a file extent as it is, with its data elsewhere.
func (w *rewriter) planMoved(it item, e fileExtent) error {
	ondisk.PutUint64(it.data, ondisk.FileGeneration, generation)
	if e.kind == ondisk.TypeRegular && e.disk != 0 {
		p, known := w.moved[e.disk]
		if !known {
			p = &movedPiece{from: e.disk, length: e.diskLength, refs: map[dataRef]uint32{}}
			w.moved[e.disk] = p
			w.pieces = append(w.pieces, p)
		}
		if p.length != e.diskLength {
			return fmt.Errorf("file extent %v has %d bytes on disk; another of the same extent has %d", it.key, e.diskLength, p.length)
		}
		p.refs[dataRef{inode: it.key.object, offset: e.at - e.skip}]++
		p.items = append(p.items, it.data)
	}
	w.files = append(w.files, it)
	return nil
}

// planCoded cuts a file into units that get extents of their own. Units without data become holes.
func (w *rewriter) planCoded(inode item, extents []fileExtent) {
	fileSize := ondisk.Uint64(inode.data, ondisk.InodeSize)
	ondisk.PutUint64(inode.data, ondisk.InodeBytes, 0) // the pieces add theirs
	var planned uint64                                 // units before this one are planned, or holes
	for i, e := range extents {
		if !e.hasData() {
			continue
		}
		for at := max(planned, e.at/codec.Unit*codec.Unit); at < min(e.end(), fileSize); at += codec.Unit {
			w.files = append(w.files, item{key: key{inode.key.object, ondisk.ExtentData, at}})
			w.pieces = append(w.pieces, &codedPiece{
				inode: inode, extents: extents[i:], at: at, length: min(codec.Unit, fileSize-at), fileSize: fileSize,
				item: len(w.files) - 1,
			})
			planned = at + codec.Unit
		}
	}
}
