package verity

import (
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Root returns the root hash of the hash area at byte hashOffset. Verify checks the data against it.
// It reads the superblock, which must be about so many data blocks, and the top of the tree; nothing else is checked.
func Root(hash io.ReaderAt, hashOffset int64, dataBlocks uint64) (digest.SHA256, error) {
	p, err := readSuperblock(hash, hashOffset)
	if err != nil {
		return digest.SHA256{}, err
	}
	if p.DataBlocks != dataBlocks || dataBlocks < 2 {
		return digest.SHA256{}, fmt.Errorf("superblock byte 72: number of data blocks is %d; wanted %d", p.DataBlocks, dataBlocks)
	}
	top := make([]byte, BlockSize)
	if err := readHash(hash, top, hashOffset+BlockSize); err != nil {
		return digest.SHA256{}, fmt.Errorf("top of the hash tree: %w", err)
	}
	return newHasher(nil, p).sum(top), nil
}
