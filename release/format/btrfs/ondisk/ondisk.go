// Package ondisk has what all parts of the on-disk format of btrfs have in common: blocks, their checksums, the numbers in them,
// and where each field of an item is.
//
// In go bytes and offsets in them, out come numbers, and the other way round. Nothing is refused: whoever parses foreign
// bytes checks lengths before it asks for a number.
package ondisk

import (
	"encoding/binary"
	"hash/crc32"
)

// BlockSize is the size of a data block and of a tree block. With mixed block groups the two are the same.
const BlockSize = 4096

// MaxLevels is how many levels a tree can have.
const MaxLevels = 8

// Written is the flag of a superblock or tree block that was written out.
const Written = 1

// Castagnoli is the polynomial of all checksums.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BlockSum is the checksum of a superblock or tree block: crc32c of all that follows the 32 bytes kept for it.
func BlockSum(block []byte) uint32 { return crc32.Checksum(block[32:], Castagnoli) }

// DataSum is the checksum of a block of data.
func DataSum(block []byte) uint32 { return crc32.Checksum(block, Castagnoli) }

// Padded is the length of the whole blocks that n bytes take.
func Padded(n int) int { return (n + BlockSize - 1) / BlockSize * BlockSize }

// Uint16 reads a number.
func Uint16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }

// Uint32 reads a number.
func Uint32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }

// Uint64 reads a number.
func Uint64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }

// PutUint32 writes a number.
func PutUint32(b []byte, at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }

// PutUint64 writes a number.
func PutUint64(b []byte, at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
