package initramfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// framed returns the bytes of one compressed segment and stops at its end. Decompressors read to the end of their input; the end
// of a segment follows from its own structure.
type framed struct {
	in   *source
	next step // nil behind the last piece
	left int64
}

// step looks at the head of a piece, and returns the length of the piece and what follows it.
type step func() (int64, step, error)

func (f *framed) Read(p []byte) (int, error) {
	for f.left == 0 {
		if f.next == nil {
			return 0, io.EOF
		}
		var err error
		if f.left, f.next, err = f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.in.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// head returns the next n bytes without reading them.
func (s *source) head(n int) ([]byte, error) {
	b, err := s.Peek(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// zstdFrame is one frame (RFC 8878).
type zstdFrame struct {
	in      *source
	checked bool
}

func (z *zstdFrame) header() (int64, step, error) {
	head, err := z.in.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return 0, nil, err
	}
	if h.Skippable {
		return 0, nil, errors.New("a skippable frame, in which kernels find no archive")
	}
	if h.WindowSize > uint64(maxWindow) {
		return 0, nil, fmt.Errorf("a window of %d B; wanted at most %d, which kernels have room for", h.WindowSize, int64(maxWindow))
	}
	z.checked = h.HasCheckSum
	return int64(h.HeaderSize), z.block, nil
}

func (z *zstdFrame) block() (int64, step, error) {
	head, err := z.in.head(3)
	if err != nil {
		return 0, nil, err
	}
	bits := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16
	last, kind, length := bits&1 != 0, bits>>1&3, int64(bits>>3)
	const repeated, reserved = 1, 3
	switch kind {
	case repeated: // one byte
		length = 1
	case reserved:
		return 0, nil, errors.New("a block of an invalid type")
	}
	length += 3
	switch {
	case !last:
		return length, z.block, nil
	case z.checked:
		return length + 4, nil, nil
	}
	return length, nil, nil
}

// xzFrame is one stream (the .xz file format, version 1.2.1).
type xzFrame struct {
	in       *source
	block    int64 // where the current block began
	check    int64 // length of what follows each block
	integers uint64
}

func (x *xzFrame) header() (int64, step, error) {
	const length = 12
	head, err := x.in.head(length)
	if err != nil {
		return 0, nil, err
	}
	const none, crc32 = 0, 1
	switch check := head[7] & 15; check {
	case none:
	case crc32:
		x.check = 4
	default:
		names := map[byte]string{4: "CRC64", 10: "SHA-256"}
		return 0, nil, fmt.Errorf("its checksum is %s (%d), which kernels do not know; make it with xz --check=crc32", names[check], check)
	}
	return length, x.blockOrIndex, nil
}

func (x *xzFrame) blockOrIndex() (int64, step, error) {
	head, err := x.in.head(1)
	if err != nil {
		return 0, nil, err
	}
	x.block = x.in.at
	if head[0] == 0 {
		return 1, x.count, nil
	}
	return (int64(head[0]) + 1) * 4, x.chunk, nil
}

// chunk is a piece of LZMA2, which is always the last filter.
func (x *xzFrame) chunk() (int64, step, error) {
	head, err := x.in.head(1)
	if err != nil {
		return 0, nil, err
	}
	const end, kept, packed, newProperties = 0, 2, 0x80, 0xc0
	switch control := head[0]; {
	case control == end:
		length := x.in.at - x.block + 1
		return 1 + -length&3 + x.check, x.blockOrIndex, nil
	case control <= kept:
		head, err := x.in.head(3)
		if err != nil {
			return 0, nil, err
		}
		return 3 + int64(binary.BigEndian.Uint16(head[1:])) + 1, x.chunk, nil
	case control >= packed:
		head, err := x.in.head(5)
		if err != nil {
			return 0, nil, err
		}
		length := 5 + int64(binary.BigEndian.Uint16(head[3:])) + 1
		if control >= newProperties {
			length++
		}
		return length, x.chunk, nil
	default:
		return 0, nil, fmt.Errorf("an LZMA2 chunk of the invalid type %#x", control)
	}
}

// count is the number of records in the index.
func (x *xzFrame) count() (int64, step, error) {
	records, length, err := x.integer()
	if err != nil || records > 1<<32 {
		return 0, nil, errors.Join(errors.New("invalid index"), err)
	}
	if x.integers = 2 * records; x.integers == 0 {
		return length, x.footer, nil
	}
	return length, x.record, nil
}

func (x *xzFrame) record() (int64, step, error) {
	_, length, err := x.integer()
	if x.integers--; x.integers == 0 {
		return length, x.footer, err
	}
	return length, x.record, err
}

// footer is what fills up the index, its checksum and the end of the stream.
func (x *xzFrame) footer() (int64, step, error) {
	return -(x.in.at-x.block)&3 + 4 + 12, nil, nil
}

func (x *xzFrame) integer() (uint64, int64, error) {
	head, err := x.in.Peek(9)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	value, length := binary.Uvarint(head)
	if length <= 0 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	return value, int64(length), nil
}
