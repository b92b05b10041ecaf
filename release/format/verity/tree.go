package verity

import (
	"context"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// tree says where the hash blocks lie and which blocks each of them covers.
type tree struct {
	dataBlocks uint64
	levels     []level // levels[0] holds the digests of the data; the last level is one block, the top
}

type level struct {
	offset int64 // of its first block, in bytes
	blocks uint64
}

// newTree lays out a tree whose first block, the top, is at byte start. The levels follow each other downwards.
func newTree(dataBlocks uint64, start int64) tree {
	counts := levelBlocks(dataBlocks)
	levels := make([]level, len(counts))
	for i := len(counts) - 1; i >= 0; i-- {
		levels[i] = level{offset: start, blocks: counts[i]}
		start += int64(counts[i]) * BlockSize
	}
	return tree{dataBlocks, levels}
}

// top is the number of the highest level.
func (t tree) top() int { return len(t.levels) - 1 }

// offset is where a hash block lies, in bytes.
func (t tree) offset(level int, block uint64) int64 {
	return t.levels[level].offset + int64(block)*BlockSize
}

// below returns the blocks that a hash block covers: data blocks for level 0, else hash blocks of the next level down.
func (t tree) below(level int, block uint64) (first uint64, count int) {
	total := t.dataBlocks
	if level > 0 {
		total = t.levels[level-1].blocks
	}
	first = block * digestsPerBlock
	return first, int(min(digestsPerBlock, total-first))
}

// eachBelow does the work for count blocks below a hash block of the given level.
//
// Only blocks of level 0 are worked on at the same time, 128 under one of level 1: half a MiB each is enough to keep
// the cores busy, and the levels above then need no more than one block each.
// Of several errors it returns the one with the lowest index, always the same for the same input:
// work begins in order, and what has begun is finished.
func eachBelow(ctx context.Context, level, count int, work func(i int) error) error {
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(1)
	if level == 1 {
		group.SetLimit(runtime.GOMAXPROCS(0))
	}
	errs := make([]error, count)
	for i := 0; i < count && running.Err() == nil; i++ {
		group.Go(func() error {
			errs[i] = work(i)
			return errs[i]
		})
	}
	if group.Wait() == nil {
		return ctx.Err()
	}
	return errs[slices.IndexFunc(errs, func(err error) bool { return err != nil })]
}
