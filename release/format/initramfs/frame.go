package initramfs

import (
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

// checkXZ refuses streams with a checksum that kernels do not know (the .xz file format, 2.1.1.2).
func checkXZ(in *source) error {
	head, err := in.head(12)
	if err != nil {
		return err
	}
	const none, crc32 = 0, 1
	if check := head[7] & 15; check != none && check != crc32 {
		names := map[byte]string{4: "CRC64", 10: "SHA-256"}
		return fmt.Errorf("its checksum is %s (%d), which kernels do not know; make it with xz --check=crc32", names[check], check)
	}
	return nil
}
