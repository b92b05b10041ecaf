// Package verity makes and checks dm-verity hash trees, as veritysetup does, on all cores.
//
// In: a file of data blocks. Out: a hash area (one superblock, then the tree) and the root hash over
// every data block. It knows the one shape that Flatcar and systemd use: hash type 1, sha256, blocks of 4096 bytes.
//
// A hash block holds 128 digests, those of half a MiB of data or of 128 hash blocks, up to the one block at the top.
// Both Format and Verify walk the tree from there, so they hold half a MiB for each core and one block for each level,
// whatever the size of the data.
//
// The format is that of cryptsetup (lib/verity/verity.c and verity_hash.c) and of the kernel
// (Documentation/admin-guide/device-mapper/verity.rst). Sizes without a source below are from there.
package verity

import (
	"crypto/sha256"
	"fmt"
	"math"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// BlockSize is the size of data blocks and of hash blocks in bytes.
const BlockSize = 4096

const (
	digestSize      = sha256.Size
	digestsPerBlock = BlockSize / digestSize

	maxSaltSize = 256 // the room for it in the superblock, in bytes

	// maxDataBlocks (4 EiB) keeps every offset in data and tree within int64.
	maxDataBlocks = 1 << 50
)

// Params are the choices that a hash tree depends on, next to the data. The same choices give the same bytes.
type Params struct {
	DataBlocks uint64   // at least 1
	Salt       []byte   // at most 256 bytes, hashed before each block
	UUID       [16]byte // names the hash area; no digest depends on it
}

func (p Params) check() error {
	if p.DataBlocks == 0 || p.DataBlocks > maxDataBlocks {
		return fmt.Errorf("%d data blocks; wanted 1 to %d", p.DataBlocks, uint64(maxDataBlocks))
	}
	if len(p.Salt) > maxSaltSize {
		return fmt.Errorf("salt has %d B; wanted at most %d B", len(p.Salt), maxSaltSize)
	}
	return nil
}

// TreeBlocks returns how many hash blocks the tree over so many data blocks has.
// A single data block has none: its digest is the root hash.
func TreeBlocks(dataBlocks uint64) uint64 {
	var total uint64
	for _, blocks := range levelBlocks(dataBlocks) {
		total += blocks
	}
	return total
}

// HashSize returns the size of the whole hash area: the tree and the superblock's block before it.
func HashSize(dataBlocks uint64) size.Bytes {
	return size.Bytes(1+TreeBlocks(dataBlocks)) * BlockSize
}

// levelBlocks counts the hash blocks of each level, beginning with the level above the data.
func levelBlocks(dataBlocks uint64) []uint64 {
	var levels []uint64
	for below := dataBlocks; below > 1; {
		below = (below-1)/digestsPerBlock + 1
		levels = append(levels, below)
	}
	return levels
}

// checkOffset refuses a hash area that does not begin at a multiple of align or ends behind the last possible byte.
func checkOffset(hashOffset, align int64, dataBlocks uint64) error {
	if hashOffset < 0 || hashOffset%align != 0 {
		return fmt.Errorf("hash offset is %d B; wanted a multiple of %d B", hashOffset, align)
	}
	if hashOffset > math.MaxInt64-int64(HashSize(dataBlocks))-BlockSize {
		return fmt.Errorf("hash area of %v does not fit behind byte %d", HashSize(dataBlocks), hashOffset)
	}
	return nil
}
