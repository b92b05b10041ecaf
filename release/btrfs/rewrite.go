package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// rewriter writes a file system anew, in a form that follows from its files alone.
type rewriter struct {
	in    *reader
	out   *os.File
	codec *codec
	base  Superblock // of the file system before the edit: its size, and the last generation that is not new
	epoch time.Time

	space   *space
	files   []item // of the file tree
	pieces  []piece
	moved   map[uint64]*movedPiece // by the old address
	extents []extent               // as they are written
	hasZstd bool
}

// generation is that of everything in a rewritten file system.
const generation = 1

// extent is a stretch of data on disk.
type extent struct {
	address, length uint64
	refs            []dataRef
	sums            []uint32 // one for each block, or none
}

// dataRef is a file that uses an extent, and from where in the file, counted to the extent's start.
type dataRef struct {
	inode, offset uint64
	count         uint32
}

// rewrite writes to out the file system in the file in, which is an edited base, at the base's size.
// Data that the base had keeps its bytes; data of files that were written since is compressed anew.
func rewrite(ctx context.Context, out, in *os.File, base Superblock, epoch time.Time) error {
	r, err := openReader(in)
	if err != nil {
		return err
	}
	codec, err := newCodec()
	if err != nil {
		return err
	}
	w := &rewriter{
		in: r, out: out, codec: codec, base: base, epoch: epoch,
		space: newSpace(uint64(base.Size)), moved: map[uint64]*movedPiece{},
	}
	items, err := r.tree(fsTree)
	if err != nil {
		return err
	}
	if err := w.planFiles(items); err != nil {
		return fmt.Errorf("file tree: %w", err)
	}
	if err := w.writePieces(ctx); err != nil {
		return err
	}
	return w.writeTrees()
}

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
	if inode.key.kind != inodeItem || len(inode.data) != inodeLength {
		return fmt.Errorf("item %v is no inode; a file system was wanted that is unmounted and has one subvolume", inode.key)
	}
	w.normaliseInode(inode.data)
	var extents []fileExtent
	for _, it := range items {
		switch it.key.kind {
		case inodeItem, inodeRef, inodeExtref, verityDescItem, verityMerkle:
			w.files = append(w.files, it)
		case dirItem, dirIndex, xattrItem:
			if err := normaliseEntries(it); err != nil {
				return err
			}
			w.files = append(w.files, it)
		case extentData:
			e, err := parseFileExtent(it)
			if err != nil {
				return err
			}
			extents = append(extents, e)
		default:
			return fmt.Errorf("item %v has an unknown kind", it.key)
		}
	}
	if slices.ContainsFunc(extents, w.isNew) {
		return w.planCoded(inode, extents)
	}
	for i, it := range items[len(items)-len(extents):] { // the last kind of an inode's items
		w.planMoved(it, extents[i])
	}
	return nil
}

// isNew tells whether an extent was written since the edit began.
// Space that was allocated ahead has no content to be kept, so it is new too.
func (w *rewriter) isNew(e fileExtent) bool {
	return e.generation > w.base.Generation || e.kind == typePrealloc
}

// normaliseInode sets what the kernel took from its clock and its counters.
// Access, change and creation time follow the modification time: they would tell when the image was made.
func (w *rewriter) normaliseInode(inode []byte) {
	setField64(inode, inodeGeneration, generation)
	setField64(inode, inodeTransID, generation)
	setField64(inode, inodeGroup, 0)
	setField64(inode, inodeSequence, 0)
	seconds, nanos := int64(field64(inode, inodeMtime)), field32(inode, inodeMtime+8)
	if time.Unix(seconds, int64(nanos)).After(w.epoch) {
		seconds, nanos = w.epoch.Unix(), uint32(w.epoch.Nanosecond())
	}
	for _, at := range []int{inodeAtime, inodeCtime, inodeMtime, inodeOtime} {
		setField64(inode, at, uint64(seconds))
		setField32(inode, at+8, nanos)
	}
}

// normaliseEntries sets the transaction of each directory entry or attribute of an item.
func normaliseEntries(it item) error {
	for rest := it.data; len(rest) > 0; {
		if len(rest) < dirLength {
			return fmt.Errorf("item %v ends within an entry", it.key)
		}
		length := dirLength + int(field16(rest, dirNameLength)) + int(field16(rest, dirDataLength))
		if length > len(rest) {
			return fmt.Errorf("item %v has an entry of %d bytes; %d are left", it.key, length, len(rest))
		}
		setField64(rest, dirTransID, generation)
		rest = rest[length:]
	}
	return nil
}

// planMoved takes over a file extent as it is, with its data elsewhere.
func (w *rewriter) planMoved(it item, e fileExtent) {
	setField64(it.data, fileGeneration, generation)
	if e.kind == typeRegular && e.disk != 0 {
		p, known := w.moved[e.disk]
		if !known {
			p = &movedPiece{from: e.disk, length: e.diskLength, refs: map[dataRef]uint32{}}
			w.moved[e.disk] = p
			w.pieces = append(w.pieces, p)
		}
		p.refs[dataRef{inode: it.key.object, offset: e.at - e.skip}]++
		p.items = append(p.items, it.data)
	}
	w.files = append(w.files, it)
}

// planCoded cuts a file into units that get extents of their own. Units without data become holes.
func (w *rewriter) planCoded(inode item, extents []fileExtent) error {
	fileSize := field64(inode.data, inodeSize)
	if last := extents[len(extents)-1].end(); fileSize > last+maxExtent<<32 {
		return fmt.Errorf("inode %d has %d bytes; its data ends at %d", inode.key.object, fileSize, last)
	}
	setField64(inode.data, inodeBytes, 0) // the pieces add theirs
	setField64(inode.data, inodeFlags, field64(inode.data, inodeFlags)&^(flagNoDataSum|flagNoDataCow))
	var planned uint64 // units before this one are planned, or holes
	for i, e := range extents {
		if !e.hasData() {
			continue
		}
		for at := max(planned, e.at/unit*unit); at < min(e.end(), fileSize); at += unit {
			w.files = append(w.files, item{key: key{inode.key.object, extentData, at}})
			w.pieces = append(w.pieces, &codedPiece{
				inode: inode, extents: extents[i:], at: at, length: min(unit, fileSize-at), fileSize: fileSize,
				item: len(w.files) - 1,
			})
			planned = at + unit
		}
	}
	return nil
}

// piece is data that is to be written. Pieces are prepared in parallel and placed one after the other.
type piece interface {
	prepare(w *rewriter) error
	place(w *rewriter) error
}

// window is how many pieces are held in memory.
const window = 128

func (w *rewriter) writePieces(ctx context.Context) error {
	for pieces := range slices.Chunk(w.pieces, window) {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(runtime.GOMAXPROCS(0))
		for _, p := range pieces {
			group.Go(func() error { return errors.Join(ctx.Err(), p.prepare(w)) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for _, p := range pieces {
			if err := p.place(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes whole blocks of data and returns their checksums.
func (w *rewriter) write(data []byte, address uint64) ([]uint32, error) {
	if _, err := w.out.WriteAt(data, int64(address)); err != nil {
		return nil, err
	}
	var sums []uint32
	for block := range slices.Chunk(data, blockSize) {
		sums = append(sums, dataSum(block))
	}
	return sums, nil
}
