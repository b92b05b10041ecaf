package rewrite

import (
	"fmt"

	"github.com/flatcar/oem-sysext/release/format/btrfs/codec"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// movedPiece is an extent that keeps its bytes.
type movedPiece struct {
	from, length uint64
	refs         map[dataRef]uint32 // how often each occurs; the keys have no count
	items        [][]byte           // the file extents that get the new address
}

// moveStep is how much of a moved extent is in memory.
const moveStep = 1 << 20

func (p *movedPiece) prepare(*rewriter) error { return nil }

func (p *movedPiece) place(w *rewriter) error {
	address, err := w.space.Take(p.length)
	if err != nil {
		return err
	}
	e := extent{address: address, length: p.length}
	buf := make([]byte, min(moveStep, p.length))
	for done := uint64(0); done < p.length; done += uint64(len(buf)) {
		buf = buf[:min(moveStep, p.length-done)]
		if err := w.in.readData(buf, p.from+done); err != nil {
			return err
		}
		sums, err := w.write(buf, address+done)
		if err != nil {
			return err
		}
		e.sums = append(e.sums, sums...)
	}
	if _, summed := w.in.sums[p.from]; !summed { // a file with nodatasum
		e.sums = nil
	}
	for ref, count := range p.refs {
		ref.count = count
		e.refs = append(e.refs, ref)
	}
	for _, data := range p.items {
		ondisk.PutUint64(data, ondisk.FileDiskAddress, address)
	}
	w.extents = append(w.extents, e)
	return nil
}

// codedPiece is a unit of a file that gets an extent of its own.
type codedPiece struct {
	inode    item
	extents  []fileExtent // that have the content, and maybe later ones
	at       uint64
	length   uint64
	fileSize uint64
	item     int // the file extent's index in rewriter.files

	// What prepare found out.
	stored      []byte
	compression uint8
	inline      bool
}

// maxInline is the most that an inline extent stores (mount option max_inline, its default).
const maxInline = 2048

func (p *codedPiece) prepare(w *rewriter) error {
	content := make([]byte, p.length)
	if err := w.in.readFile(content, p.extents, p.at); err != nil {
		return fmt.Errorf("inode %d: %w", p.inode.key.object, err)
	}
	p.stored = content
	compressed := w.codec.Encode(content)
	p.inline = p.at == 0 && p.length == p.fileSize && p.length < ondisk.BlockSize && min(len(compressed), len(content)) <= maxInline
	if p.inline && len(compressed) < len(content) || ondisk.Padded(len(compressed)) < ondisk.Padded(len(content)) {
		p.stored, p.compression = compressed, codec.Zstd
	}
	if !p.inline {
		p.stored = append(p.stored, make([]byte, ondisk.Padded(len(p.stored))-len(p.stored))...)
	}
	return nil
}

func (p *codedPiece) place(w *rewriter) error {
	w.hasZstd = w.hasZstd || p.compression == codec.Zstd
	stored := p.stored
	p.stored = nil
	if p.inline {
		data := make([]byte, ondisk.FileInlineData, ondisk.FileInlineData+len(stored))
		p.describe(data, ondisk.TypeInline, p.length)
		w.files[p.item].data = append(data, stored...)
		return nil
	}
	address, err := w.space.Take(uint64(len(stored)))
	if err != nil {
		return err
	}
	sums, err := w.write(stored, address)
	if err != nil {
		return err
	}
	data := make([]byte, ondisk.FileLength)
	length := uint64(ondisk.Padded(int(p.length)))
	p.describe(data, ondisk.TypeRegular, length)
	ondisk.PutUint64(data, ondisk.FileDiskAddress, address)
	ondisk.PutUint64(data, ondisk.FileDiskBytes, uint64(len(stored)))
	ondisk.PutUint64(data, ondisk.FileBytes, length)
	w.files[p.item].data = data
	w.extents = append(w.extents, extent{
		address: address, length: uint64(len(stored)), sums: sums,
		refs: []dataRef{{inode: p.inode.key.object, offset: p.at, count: 1}},
	})
	return nil
}

// describe fills what all file extents have in common, and counts the bytes for the inode.
func (p *codedPiece) describe(data []byte, kind uint8, length uint64) {
	ondisk.PutUint64(data, ondisk.FileGeneration, generation)
	ondisk.PutUint64(data, ondisk.FileRAMBytes, length)
	data[ondisk.FileCompression] = p.compression
	data[ondisk.FileType] = kind
	ondisk.PutUint64(p.inode.data, ondisk.InodeBytes, ondisk.Uint64(p.inode.data, ondisk.InodeBytes)+length)
}
