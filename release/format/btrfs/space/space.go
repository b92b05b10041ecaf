package btrfs

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Where things go in what this package writes. Logical addresses are places in the file.
// There is one chunk for the tree of chunks and one for everything else, up to the end:
// the kernel would add chunks as it needs them and end up with the same room.
const (
	systemStart  = 1 << 20 // what lies before is reserved (BTRFS_BLOCK_RESERVED_1M_FOR_SUPER)
	systemLength = 4 << 20 // as mkfs.btrfs has it
	mixedStart   = systemStart + systemLength
	stripeLength = 64 << 10 // BTRFS_STRIPE_LEN: chunks are multiples of it, and so is what a mirror superblock blocks
)

func mixedLength(total uint64) uint64 { return (total - mixedStart) / stripeLength * stripeLength }

// space hands out addresses in ascending order.
type space struct {
	gaps []gap
}

type gap struct{ next, end uint64 }

// newSpace is the mixed chunk except for the mirror of the superblock.
func newSpace(total uint64) *space {
	end := mixedStart + mixedLength(total)
	return &space{gaps: []gap{
		{mixedStart, min(superMirrorOffset, end)},
		{min(superMirrorOffset+stripeLength, end), end},
	}}
}

func (s *space) clone() *space { return &space{gaps: slices.Clone(s.gaps)} }

// free is how much is left.
func (s *space) free() size.Bytes {
	total := uint64(0)
	for _, g := range s.gaps {
		total += g.end - g.next
	}
	return size.Bytes(total)
}

// take returns the address of the first gap that has length bytes in one piece.
func (s *space) take(length uint64) (uint64, error) {
	for i := range s.gaps {
		g := &s.gaps[i]
		if g.end-g.next >= length {
			g.next += length
			return g.next - length, nil
		}
	}
	return 0, fmt.Errorf("the file system is full: no %d bytes are left in one piece: %w", length, syscall.ENOSPC)
}

// blocks takes addresses for count tree blocks.
func (s *space) blocks(count int) ([]uint64, error) {
	addresses := make([]uint64, count)
	for i := range addresses {
		var err error
		if addresses[i], err = s.take(blockSize); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}
