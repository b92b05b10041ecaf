// Package sparse writes files with holes in place of zeros.
package sparse

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// block is the smallest hole: the block size of file systems.
const block = 4096

var zero [block]byte

// Writer appends to a new, empty file.
type Writer struct {
	f      *os.File
	length int64
}

// NewWriter returns a writer to an empty file. Close sets the file's length.
func NewWriter(f *os.File) *Writer { return &Writer{f: f} }

// Write writes p except for whole blocks of zeros.
func (w *Writer) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		from := done
		for done < len(p) { // up to the next hole
			n := min(block-int((w.length+int64(done-from))%block), len(p)-done)
			if bytes.Equal(p[done:done+n], zero[:n]) {
				break
			}
			done += n
		}
		if done > from {
			n, err := w.f.WriteAt(p[from:done], w.length)
			w.length += int64(n)
			if err != nil {
				return from + n, err
			}
		}
		for done < len(p) { // the hole
			n := min(block-int(w.length%block), len(p)-done)
			if !bytes.Equal(p[done:done+n], zero[:n]) {
				break
			}
			done += n
			w.length += int64(n)
		}
	}
	return done, nil
}

// Close sets the file's length. It does not close the file.
func (w *Writer) Close() error { return w.f.Truncate(w.length) }

// Copy writes r to an empty file and returns the length.
func Copy(f *os.File, r io.Reader) (int64, error) {
	w := NewWriter(f)
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 1<<20))
	if err != nil {
		return n, err
	}
	return n, w.Close()
}

// CopyPart writes length bytes of a file to an empty one, without reading holes.
func CopyPart(out, in *os.File, from, length int64) error {
	if err := Overwrite(out, 0, in, from, length); err != nil {
		return err
	}
	return out.Truncate(length)
}

// Overwrite writes length bytes of a file into a hole of another, without reading holes.
func Overwrite(out *os.File, to int64, in *os.File, from, length int64) error {
	for at, end := from, from+length; at < end; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only a hole follows
			break
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		hole = min(hole, end)
		w := &Writer{f: out, length: to + data - from}
		if _, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(in, data, hole-data), make([]byte, 1<<20)); err != nil {
			return err
		}
		at = hole
	}
	return nil
}
