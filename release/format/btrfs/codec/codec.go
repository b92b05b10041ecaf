package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// unit is how much of a file is compressed in one piece: the most that the kernel accepts
// (fs/btrfs/compression.h, BTRFS_MAX_UNCOMPRESSED), which is also its zstd window (fs/btrfs/zstd.c, ZSTD_BTRFS_MAX_WINDOWLOG).
const unit = 128 << 10

// codec compresses as btrfs does. What it writes depends on nothing but its input and the version of the library.
// It can be used by several goroutines.
type codec struct {
	encoder *zstd.Encoder
}

func newCodec() (*codec, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithWindowSize(unit), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return nil, err
	}
	return &codec{encoder}, nil
}

// encode compresses one unit at most.
func (c *codec) encode(data []byte) []byte { return c.encoder.EncodeAll(data, nil) }

// decode returns the first length bytes of a compressed extent. The frame may hold less: the kernel compresses
// up to the end of the file, and the rest of the last block is zero. So is what follows the frame on disk.
func decode(compressed []byte, compression uint8, length int) ([]byte, error) {
	if compression != compressZstd {
		return nil, fmt.Errorf("compression is %d; wanted %d (zstd)", compression, compressZstd)
	}
	// The reader is hidden: a bytes.Reader would be decoded as a whole, with the zeros for a second frame.
	in := struct{ io.Reader }{bytes.NewReader(compressed)}
	d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(unit), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	data := make([]byte, length)
	n, err := io.ReadFull(d, data)
	frameEnded := errors.Is(err, io.ErrUnexpectedEOF) || n > 0 && errors.Is(err, zstd.ErrMagicMismatch)
	if err != nil && !frameEnded {
		return nil, fmt.Errorf("zstd data fails after %d bytes: %w", n, err)
	}
	return data, nil
}

// dataSum is the checksum of a block of data.
func dataSum(block []byte) uint32 { return crc32.Checksum(block, castagnoli) }

func padded(n int) int { return (n + blockSize - 1) / blockSize * blockSize }
