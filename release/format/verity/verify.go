package verity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// DataLevel is the level of data blocks; the hash blocks right above them have level 0.
const DataLevel = -1

// CorruptError names the first block that differs from the root hash. A hash block comes before
// all that it covers, and nothing that it says is used.
type CorruptError struct {
	Level  int    // DataLevel, or the level of a hash block
	Block  uint64 // its number in that level
	Offset int64  // in the data or the hash file, in bytes
	Reason string
}

func (e *CorruptError) Error() string {
	if e.Level == DataLevel {
		return fmt.Sprintf("data block %d at byte %d: %s", e.Block, e.Offset, e.Reason)
	}
	return fmt.Sprintf("hash block %d of level %d at byte %d: %s", e.Block, e.Level, e.Offset, e.Reason)
}

// Verify checks data against root, with the hash area at byte hashOffset of hash: the superblock,
// each block of the tree and each data block that the superblock counts. The first bad block is a *CorruptError;
// other errors are about the superblock, a missing part of either file, a failed read, or the end of ctx.
//
// No digest covers the superblock's UUID, and veritysetup leaves what it finds in the rest of the superblock's block,
// so neither is checked. Hash offsets are multiples of 512 as for veritysetup.
func Verify(ctx context.Context, data, hash io.ReaderAt, hashOffset int64, root digest.SHA256) error {
	p, err := readSuperblock(hash, hashOffset)
	if err != nil {
		return err
	}
	// The tree begins with the first whole block behind the superblock.
	start := (hashOffset + superblockSize + BlockSize - 1) / BlockSize * BlockSize
	v := verifier{newTree(p.DataBlocks, start), newHasher(data, p), hash}
	if len(v.levels) > 0 {
		return v.block(ctx, v.top(), 0, root)
	}
	return v.data(0, 1, root[:])
}

func readSuperblock(hash io.ReaderAt, hashOffset int64) (Params, error) {
	if err := checkOffset(hashOffset, superblockSize, 0); err != nil {
		return Params{}, err
	}
	encoded := make([]byte, superblockSize)
	if err := readHash(hash, encoded, hashOffset); err != nil {
		return Params{}, fmt.Errorf("superblock: %w", err)
	}
	p, err := ParseSuperblock(encoded)
	if err != nil {
		return Params{}, err
	}
	return p, checkOffset(hashOffset, superblockSize, p.DataBlocks)
}

type verifier struct {
	tree
	*hasher
	hash io.ReaderAt
}

// block checks a hash block and then all that it covers.
func (v verifier) block(ctx context.Context, level int, number uint64, want digest.SHA256) error {
	offset := v.offset(level, number)
	content := make([]byte, BlockSize)
	if err := readHash(v.hash, content, offset); err != nil {
		return fmt.Errorf("hash block %d of level %d: %w", number, level, err)
	}
	if got := v.sum(content); got != want {
		return &CorruptError{level, number, offset, mismatch(got, want)}
	}
	first, count := v.below(level, number)
	// No digest covers the superblock's number of data blocks. With a smaller one the last digests would be left over.
	if spare := content[count*digestSize:]; !bytes.Equal(spare, zeroBlock[:len(spare)]) {
		return &CorruptError{level, number, offset, fmt.Sprintf("is not zero behind its %d digests", count)}
	}
	if level == 0 {
		return v.data(first, count, content)
	}
	return eachBelow(ctx, level, count, func(i int) error {
		return v.block(ctx, level-1, first+uint64(i), digest.SHA256(content[i*digestSize:]))
	})
}

// data checks count data blocks against as many digests.
func (v verifier) data(first uint64, count int, want []byte) error {
	sums, err := v.sumData(first, count)
	if err != nil {
		return err
	}
	for i := range count {
		got, want := digest.SHA256(sums[i*digestSize:]), digest.SHA256(want[i*digestSize:])
		if block := first + uint64(i); got != want {
			return &CorruptError{DataLevel, block, int64(block) * BlockSize, mismatch(got, want)}
		}
	}
	return nil
}

func mismatch(got, want digest.SHA256) string {
	return fmt.Sprintf("digest is %v; wanted %v", got, want)
}

func readHash(hash io.ReaderAt, b []byte, offset int64) error {
	n, err := hash.ReadAt(b, offset)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("hash file ends before byte %d: %w", offset+int64(len(b)), io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read %d B of hashes at byte %d: %w", len(b), offset, err)
}
