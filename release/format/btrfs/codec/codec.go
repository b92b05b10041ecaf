// Package codec compresses and decompresses extents as btrfs does.
//
// In goes a piece of a file, out comes a zstd frame, and the other way round. Refused are other compressions than zstd,
// and data that is none.
package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Unit is how much of a file is compressed in one piece: the most that the kernel accepts
// (fs/btrfs/compression.h, BTRFS_MAX_UNCOMPRESSED), which is also its zstd window (fs/btrfs/zstd.c, ZSTD_BTRFS_MAX_WINDOWLOG).
const Unit = 128 << 10

// Zstd is the number that file extents have for what is compressed here (kernel include/uapi/linux/btrfs_tree.h).
const Zstd = 3

// Codec compresses as btrfs does. What it writes depends on nothing but its input and the version of the library.
// It can be used by several goroutines.
type Codec struct {
	encoder *zstd.Encoder
}

// New returns a codec.
func New() (*Codec, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithWindowSize(Unit), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return nil, err
	}
	return &Codec{encoder}, nil
}

// Encode compresses one unit at most.
func (c *Codec) Encode(data []byte) []byte { return c.encoder.EncodeAll(data, nil) }

// Decode returns the first length bytes of a compressed extent. The frame may hold less: the kernel compresses
// up to the end of the file, and the rest of the last block is zero. So is what follows the frame on disk.
func Decode(compressed []byte, compression uint8, length int) ([]byte, error) {
	if compression != Zstd {
		return nil, fmt.Errorf("compression is %d; wanted %d (zstd)", compression, Zstd)
	}
	// The reader is hidden: a bytes.Reader would be decoded as a whole, with the zeros for a second frame.
	in := struct{ io.Reader }{bytes.NewReader(compressed)}
	d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(Unit), zstd.WithDecoderLowmem(true))
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
