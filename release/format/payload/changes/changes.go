// Package changes finds what an image has that an earlier one has not, in blocks.
//
// In go two images, out come the runs of blocks that have moved and those that are new. Whoever does the moves in their order in the
// earlier image itself, and then writes the new runs, has the later one. No image is refused; what cannot be read is an error.
package changes

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// BlockSize is the size of a block.
const BlockSize = 4096

// Image is an image to compare. Only the last block may be shorter than others.
type Image struct {
	Data io.ReaderAt
	Size size.Bytes
}

func (i Image) blocks() uint64 { return uint64(i.Size+BlockSize-1) / BlockSize }

// Run is a row of blocks.
type Run struct{ Start, Blocks uint64 }

// End is the block behind the run.
func (r Run) End() uint64 { return r.Start + r.Blocks }

func (r Run) overlaps(other Run) bool { return r.Start < other.End() && other.Start < r.End() }

// Move copies a row of blocks to another place. The two may overlap: it reads everything before it writes.
type Move struct{ From, To, Blocks uint64 }

// Source is what the move reads.
func (m Move) Source() Run { return Run{m.From, m.Blocks} }

// Target is what the move writes.
func (m Move) Target() Run { return Run{m.To, m.Blocks} }

// Changes lead from one image to another.
type Changes struct {
	Moves []Move // none reads what one before it has written
	New   []Run  // in ascending order; to be written after all moves
}

// MaxMove is how many blocks a move has at most: the client holds them in memory.
const MaxMove = 256

// minMove is how many blocks must have moved together. Fewer are sent anew: most are blocks that happen to be alike, and clients
// flush their state to the disk after each operation.
const minMove = 4

// Find compares two images.
func Find(ctx context.Context, from, to Image) (Changes, error) {
	changed, err := Compare(ctx, from, to)
	if err != nil || len(changed) == 0 {
		return Changes{}, err
	}
	old, err := index(ctx, from, to.Size)
	if err != nil {
		return Changes{}, err
	}
	moves, err := old.find(ctx, to, changed)
	if err != nil {
		return Changes{}, err
	}
	moves = inOrder(moves)
	return Changes{moves, without(changed, moves)}, nil
}

// step is how many blocks are in memory.
const step = 256

// each calls f with the blocks of a run, some at a time.
func (i Image) each(ctx context.Context, r Run, f func(first uint64, blocks []byte) error) error {
	buf := make([]byte, step*BlockSize)
	for at := r.Start; at < r.End(); at += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		blocks := buf[:min(step, r.End()-at)*BlockSize]
		if err := i.read(blocks, at); err != nil {
			return err
		}
		if err := f(at, blocks); err != nil {
			return err
		}
	}
	return nil
}

// read fills blocks from one on, and what is behind the image's end with zeros.
func (i Image) read(blocks []byte, first uint64) error {
	at := int64(first) * BlockSize
	there := min(max(int64(i.Size)-at, 0), int64(len(blocks)))
	if n, err := i.Data.ReadAt(blocks[:there], at); int64(n) < there {
		return fmt.Errorf("read %d B at byte %d: %w", there, at, err)
	}
	clear(blocks[there:])
	return nil
}

// Compare returns the runs of the later image that differ. What is behind the end of the earlier one does.
func Compare(ctx context.Context, from, to Image) ([]Run, error) {
	var changed []Run
	before := make([]byte, step*BlockSize)
	err := to.each(ctx, Run{0, to.blocks()}, func(first uint64, blocks []byte) error {
		before := before[:len(blocks)]
		if err := from.read(before, first); err != nil {
			return err
		}
		whole := uint64(from.Size) / BlockSize
		if first+uint64(len(blocks))/BlockSize <= whole && bytes.Equal(before, blocks) {
			return nil
		}
		for n := range uint64(len(blocks)) / BlockSize {
			at := n * BlockSize
			same := first+n < whole || from.Size == to.Size // the last block of both may be short
			if !same || !bytes.Equal(before[at:at+BlockSize], blocks[at:at+BlockSize]) {
				changed = add(changed, Run{first + n, 1})
			}
		}
		return nil
	})
	return changed, err
}

// add adds a run behind others.
func add(runs []Run, r Run) []Run {
	if last := len(runs) - 1; last >= 0 && runs[last].End() == r.Start {
		runs[last].Blocks += r.Blocks
		return runs
	}
	return append(runs, r)
}

// sum stands for a block's content.
type sum [16]byte

func sumOf(block []byte) sum {
	whole := sha256.Sum256(block)
	return sum(whole[:16])
}

// known is what an image has, where: 36 bytes in memory for each block.
type known struct {
	sums  []sum
	first map[sum]uint64
}

// index reads the whole blocks of an image that are before an end.
func index(ctx context.Context, i Image, end size.Bytes) (known, error) {
	k := known{first: map[sum]uint64{}}
	whole := Run{0, uint64(min(i.Size, end)) / BlockSize}
	err := i.each(ctx, whole, func(_ uint64, blocks []byte) error {
		for block := range slices.Chunk(blocks, BlockSize) {
			s := sumOf(block)
			if _, twice := k.first[s]; !twice {
				k.first[s] = uint64(len(k.sums))
			}
			k.sums = append(k.sums, s)
		}
		return nil
	})
	return k, err
}

// find returns the moves that make parts of changed runs, in the order of where they go.
func (k known) find(ctx context.Context, to Image, changed []Run) ([]Move, error) {
	var moves []Move
	zeros := make([]byte, BlockSize)
	for _, run := range changed {
		var m Move
		err := to.each(ctx, run, func(first uint64, blocks []byte) error {
			for block := range slices.Chunk(blocks, BlockSize) {
				s := sumOf(block)
				if next := m.From + m.Blocks; m.Blocks > 0 && next < uint64(len(k.sums)) && k.sums[next] == s {
					m.Blocks++
				} else {
					moves = cut(moves, m)
					m = Move{}
					// Zeros are compressed to nothing.
					if from, found := k.first[s]; found && !bytes.Equal(block, zeros) {
						m = Move{from, first, 1}
					}
				}
				first++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		moves = cut(moves, m)
	}
	return moves, nil
}

// cut adds a move in pieces that are not too long, unless it is too short.
func cut(moves []Move, m Move) []Move {
	if m.Blocks < minMove {
		return moves
	}
	for m.Blocks > 0 {
		n := min(m.Blocks, MaxMove)
		moves = append(moves, Move{m.From, m.To, n})
		m = Move{m.From + n, m.To + n, m.Blocks - n}
	}
	return moves
}

// without returns what is left of runs when those that moves write are taken out. Both are in ascending order at first.
func without(runs []Run, moves []Move) []Run {
	moves = slices.SortedFunc(slices.Values(moves), func(a, b Move) int { return cmp.Compare(a.To, b.To) })
	var left []Run
	for _, r := range runs {
		for len(moves) > 0 && moves[0].To < r.End() {
			if n := moves[0].To - r.Start; n > 0 {
				left = append(left, Run{r.Start, n})
			}
			end := moves[0].Target().End()
			r, moves = Run{end, r.End() - end}, moves[1:]
		}
		if r.Blocks > 0 {
			left = append(left, r)
		}
	}
	return left
}
