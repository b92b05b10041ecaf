// Package space is the room of a file system in its normal form, and hands it out.
//
// In goes the size of the file system, out come addresses in ascending order. Refused is what does not fit in one piece (ENOSPC).
package space

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

// Where things go in the normal form. Logical addresses are places in the file.
// There is one chunk for the tree of chunks and one for everything else, up to the end:
// the kernel would add chunks as it needs them and end up with the same room.
const (
	SystemStart  = 1 << 20 // what lies before is reserved (BTRFS_BLOCK_RESERVED_1M_FOR_SUPER)
	SystemLength = 4 << 20 // as mkfs.btrfs has it
	MixedStart   = SystemStart + SystemLength
	StripeLength = 64 << 10 // BTRFS_STRIPE_LEN: chunks are multiples of it, and so is what a mirror superblock blocks
)

// MixedLength is how long the chunk for everything but the tree of chunks is, in a file system of a size.
func MixedLength(total uint64) uint64 { return (total - MixedStart) / StripeLength * StripeLength }

// Space hands out addresses in ascending order.
type Space struct {
	gaps []gap
}

type gap struct{ next, end uint64 }

// New is the mixed chunk except for the mirror of the superblock.
func New(total uint64) *Space {
	end := MixedStart + MixedLength(total)
	return &Space{gaps: []gap{
		{MixedStart, min(superblock.MirrorOffset, end)},
		{min(superblock.MirrorOffset+StripeLength, end), end},
	}}
}

// Clone returns what hands out the same addresses again.
func (s *Space) Clone() *Space { return &Space{gaps: slices.Clone(s.gaps)} }

// Free is how much is left.
func (s *Space) Free() size.Bytes {
	total := uint64(0)
	for _, g := range s.gaps {
		total += g.end - g.next
	}
	return size.Bytes(total)
}

// Take returns the address of the first gap that has length bytes in one piece.
func (s *Space) Take(length uint64) (uint64, error) {
	for i := range s.gaps {
		g := &s.gaps[i]
		if g.end-g.next >= length {
			g.next += length
			return g.next - length, nil
		}
	}
	return 0, fmt.Errorf("the file system is full: no %d bytes are left in one piece: %w", length, syscall.ENOSPC)
}

// Blocks takes addresses for count tree blocks.
func (s *Space) Blocks(count int) ([]uint64, error) {
	addresses := make([]uint64, count)
	for i := range addresses {
		var err error
		if addresses[i], err = s.Take(ondisk.BlockSize); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}
