package verity

import (
	"context"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Format hashes the first p.DataBlocks blocks of data, writes the hash area of HashSize bytes at byte hashOffset of hash
// and returns the root hash. Data and hash may be one file if the hash area lies behind the data.
//
// The superblock comes last, so that no unfinished area passes for a whole one. Nothing is flushed to the disk.
// When ctx ends it stops within half a MiB of data for each core.
//
// It refuses data that is too short, parameters out of their range and a hashOffset that is not a multiple of 4096:
// the kernel counts in hash blocks from byte 0 of the device, so elsewhere a gap would open behind the superblock,
// and whole blocks written there would reach into somebody else's.
func Format(ctx context.Context, data io.ReaderAt, hash io.WriterAt, hashOffset int64, p Params) (digest.SHA256, error) {
	if err := p.check(); err != nil {
		return digest.SHA256{}, err
	}
	if err := checkOffset(hashOffset, BlockSize, p.DataBlocks); err != nil {
		return digest.SHA256{}, err
	}
	return formatter{newTree(p.DataBlocks, hashOffset+BlockSize), newHasher(data, p), hash, nil}.format(ctx, hashOffset)
}

type formatter struct {
	tree
	*hasher
	hash  io.WriterAt
	edits *edits // nil where there is no tree yet
}

func (f formatter) format(ctx context.Context, hashOffset int64) (digest.SHA256, error) {
	root, err := f.root(ctx)
	if err != nil {
		return digest.SHA256{}, err
	}
	block := make([]byte, BlockSize)
	copy(block, f.params.encode())
	if _, err := f.hash.WriteAt(block, hashOffset); err != nil {
		return digest.SHA256{}, fmt.Errorf("write superblock at byte %d: %w", hashOffset, err)
	}
	return root, nil
}

func (f formatter) root(ctx context.Context) (digest.SHA256, error) {
	if len(f.levels) > 0 {
		return f.block(ctx, f.top(), 0)
	}
	only, err := f.sumData(0, 1)
	if err != nil {
		return digest.SHA256{}, err
	}
	return digest.SHA256(only[:digestSize]), nil
}

// block writes a hash block and all below it, and returns its digest.
func (f formatter) block(ctx context.Context, level int, number uint64) (digest.SHA256, error) {
	content, err := f.content(ctx, level, number)
	if err != nil {
		return digest.SHA256{}, err
	}
	offset := f.offset(level, number)
	if _, err := f.hash.WriteAt(content, offset); err != nil {
		return digest.SHA256{}, fmt.Errorf("write hash block at byte %d: %w", offset, err)
	}
	return f.sum(content), nil
}

func (f formatter) content(ctx context.Context, level int, number uint64) ([]byte, error) {
	first, count := f.below(level, number)
	if level == 0 {
		return f.sumData(first, count)
	}
	content := make([]byte, BlockSize)
	if f.edits != nil {
		if err := readHash(f.edits.hash, content, f.offset(level, number)); err != nil {
			return nil, err
		}
	}
	err := eachBelow(ctx, level, count, func(i int) error {
		if f.edits != nil && !f.edits.above(level-1, first+uint64(i)) {
			return nil
		}
		sum, err := f.block(ctx, level-1, first+uint64(i))
		copy(content[i*digestSize:], sum[:])
		return err
	})
	return content, err
}
