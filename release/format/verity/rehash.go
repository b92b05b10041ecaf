package verity

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Range is a part of the data, in bytes.
type Range struct{ Start, Length int64 }

// file has data and, behind it, a hash area.
type file interface {
	io.ReaderAt
	io.WriterAt
}

// Rehash does what Format does for a file, after some ranges of the data have changed: only the hash blocks above these are made again.
// The others are trusted. It refuses a hash area for another number of blocks or another salt; the UUID may be another one.
func Rehash(ctx context.Context, f file, hashOffset int64, p Params, changed ...Range) (digest.SHA256, error) {
	old, err := readSuperblock(f, hashOffset)
	if err != nil {
		return digest.SHA256{}, err
	}
	if old.DataBlocks != p.DataBlocks || !bytes.Equal(old.Salt, p.Salt) {
		return digest.SHA256{}, fmt.Errorf("hash area has %d data blocks and the salt %x; wanted %d and %x", old.DataBlocks, old.Salt, p.DataBlocks, p.Salt)
	}
	return formatter{newTree(p.DataBlocks, hashOffset+BlockSize), newHasher(f, p), f, &edits{f, changed}}.format(ctx, hashOffset)
}

// edits are what a hash area does not have yet.
type edits struct {
	hash    io.ReaderAt
	changed []Range
}

// above tells whether there are edits below a hash block.
func (e *edits) above(level int, number uint64) bool {
	length := int64(BlockSize) // of the data below
	for range level + 1 {
		length *= digestsPerBlock
	}
	start := int64(number) * length
	return slices.ContainsFunc(e.changed, func(r Range) bool { return r.Start < start+length && start < r.Start+r.Length })
}
