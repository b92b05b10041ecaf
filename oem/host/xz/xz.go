// Package xz reads .xz files (the .xz file format, version 1.2.1) with a limit for the memory that their headers ask for.
//
// In go foreign bytes, out comes their content. Refused is a block whose dictionary is larger than [MaxDictionary], before
// any of its memory is taken, besides all that the format forbids. Only the filter LZMA2 is supported, as in all packages and images.
package xz

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ulikunitz/xz"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// MaxDictionary is the largest dictionary of a block. xz -9 makes 64 MiB.
const MaxDictionary = 128 * size.MiB

// Peeker shows bytes before they are read.
type Peeker interface {
	io.Reader
	Peek(n int) ([]byte, error)
}

// NewReader reads all streams of a file.
func NewReader(in io.Reader) (io.Reader, error) {
	return xz.NewReader(watch(bufio.NewReaderSize(in, 1<<16), false))
}

// NewStreamReader reads one stream. At its end, in is right behind it.
func NewStreamReader(in Peeker) (io.Reader, error) {
	return xz.ReaderConfig{SingleStream: true}.NewReader(watch(in, true))
}

// watched passes a file on piece by piece, and looks at the head of each piece first.
type watched struct {
	in     Peeker
	single bool
	next   step // nil behind the last piece
	left   int64
	at     int64 // where the next piece begins

	block    int64 // where the current block or index began
	check    int64 // length of what follows each block
	integers uint64
}

// step looks at the head of a piece, and returns the length of the piece and what follows it.
type step func() (int64, step, error)

func watch(in Peeker, single bool) *watched {
	w := &watched{in: in, single: single}
	w.next = w.header
	return w
}

func (w *watched) Read(p []byte) (int, error) {
	for w.left == 0 {
		if w.next == nil {
			return 0, io.EOF
		}
		var err error
		if w.left, w.next, err = w.next(); err != nil {
			return 0, err
		}
		w.at += w.left
	}
	n, err := w.in.Read(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// head returns the next n bytes without reading them.
func (w *watched) head(n int) ([]byte, error) {
	b, err := w.in.Peek(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// header is a stream's header (2.1.1).
func (w *watched) header() (int64, step, error) {
	const length = 12
	head, err := w.head(length)
	if err != nil {
		return 0, nil, err
	}
	lengths := [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64} // by the kind of check (2.1.1.2)
	w.check = lengths[head[7]&15]
	return length, w.blockOrIndex, nil
}

// another is what follows a stream: nothing, zeros in fours (2.2), or another stream.
func (w *watched) another() (int64, step, error) {
	if w.single {
		return 0, nil, io.EOF
	}
	head, err := w.in.Peek(4)
	switch {
	case len(head) == 0:
		return 0, nil, err
	case len(head) < 4:
		return 0, nil, errors.New("bytes after the end of the last stream")
	case binary.LittleEndian.Uint32(head) == 0:
		return 4, w.another, nil
	}
	return w.header()
}

// blockOrIndex reads the header of a block (3.1), and what it says of the dictionary (5.3.1).
func (w *watched) blockOrIndex() (int64, step, error) {
	head, err := w.head(1)
	if err != nil {
		return 0, nil, err
	}
	w.block = w.at
	if head[0] == 0 {
		return 1, w.count, nil
	}
	length := (int(head[0]) + 1) * 4
	if head, err = w.head(length); err != nil {
		return 0, nil, err
	}
	dictionary, err := dictionaryOf(head)
	if err == nil && dictionary > int64(MaxDictionary) {
		err = fmt.Errorf("an xz block wants a dictionary of %v; wanted at most %v", size.Bytes(dictionary), MaxDictionary)
	}
	return int64(length), w.chunk, err
}

var errBlock = errors.New("an xz block has an invalid header")

// dictionaryOf returns the size of the dictionary in a block's header.
func dictionaryOf(head []byte) (int64, error) {
	const lzma2, hasPackedSize, hasSize = 0x21, 0x40, 0x80
	flags, rest := head[1], head[2:]
	integer := func() uint64 {
		value, n := binary.Uvarint(rest)
		if n <= 0 {
			rest = nil
			return 0
		}
		rest = rest[n:]
		return value
	}
	for _, present := range []bool{flags&hasPackedSize != 0, flags&hasSize != 0} {
		if present {
			integer()
		}
	}
	if filter, properties := integer(), integer(); flags&3 != 0 || filter != lzma2 || properties != 1 || len(rest) == 0 {
		return 0, errors.New("an xz block has other filters than LZMA2")
	}
	switch bits := rest[0]; {
	case bits > 40:
		return 0, errBlock
	case bits == 40:
		return 1<<32 - 1, nil
	default:
		return int64(2|bits&1) << (bits/2 + 11), nil
	}
}

// chunk is a piece of LZMA2 (5.3.1), or what ends a block.
func (w *watched) chunk() (int64, step, error) {
	head, err := w.head(1)
	if err != nil {
		return 0, nil, err
	}
	const end, kept, packed, newProperties = 0, 2, 0x80, 0xc0
	switch control := head[0]; {
	case control == end:
		return 1 + -(w.at-w.block+1)&3 + w.check, w.blockOrIndex, nil
	case control <= kept:
		if head, err = w.head(3); err != nil {
			return 0, nil, err
		}
		return 3 + int64(binary.BigEndian.Uint16(head[1:])) + 1, w.chunk, nil
	case control >= packed:
		if head, err = w.head(5); err != nil {
			return 0, nil, err
		}
		length := 5 + int64(binary.BigEndian.Uint16(head[3:])) + 1
		if control >= newProperties {
			length++
		}
		return length, w.chunk, nil
	default:
		return 0, nil, fmt.Errorf("an LZMA2 chunk of the invalid type %#x", control)
	}
}

// count is the number of records in the index (4.2).
func (w *watched) count() (int64, step, error) {
	records, length, err := w.integer()
	if err != nil || records > 1<<32 {
		return 0, nil, errors.Join(errors.New("an xz index is invalid"), err)
	}
	if w.integers = 2 * records; w.integers == 0 {
		return length, w.footer, nil
	}
	return length, w.record, nil
}

func (w *watched) record() (int64, step, error) {
	_, length, err := w.integer()
	if w.integers--; w.integers == 0 {
		return length, w.footer, err
	}
	return length, w.record, err
}

// footer is what fills up the index, its checksum and the end of the stream.
func (w *watched) footer() (int64, step, error) {
	return -(w.at-w.block)&3 + 4 + 12, w.another, nil
}

func (w *watched) integer() (uint64, int64, error) {
	head, err := w.in.Peek(9)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	value, length := binary.Uvarint(head)
	if length <= 0 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	return value, int64(length), nil
}
