// Package sparse writes files that have holes where their content is zero.
package sparse

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// block is what becomes a hole at least. File systems have blocks of this size.
const block = 4096

var zero [block]byte

// Writer appends to a new, empty file.
type Writer struct {
	f      *os.File
	length int64
}

// NewWriter returns a writer to a file that is empty. Close it to give the file its length.
func NewWriter(f *os.File) *Writer { return &Writer{f: f} }

// Write writes all of p but whole blocks of zeros.
func (w *Writer) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		from := done
		for done < len(p) { // what lies before the next hole
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

// Close gives the file its length. It does not close the file.
func (w *Writer) Close() error { return w.f.Truncate(w.length) }

// Copy writes what r has to a new, empty file, and returns how many bytes that were.
func Copy(f *os.File, r io.Reader) (int64, error) {
	w := NewWriter(f)
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 1<<20))
	if err != nil {
		return n, err
	}
	return n, w.Close()
}

// CopyPart writes length bytes of a file to a new, empty one. What is a hole is not even read.
func CopyPart(out, in *os.File, from, length int64) error {
	if err := Overwrite(out, 0, in, from, length); err != nil {
		return err
	}
	return out.Truncate(length)
}

// Overwrite writes length bytes of a file to a place in another one that is a hole. What is a hole is not even read.
func Overwrite(out *os.File, to int64, in *os.File, from, length int64) error {
	for at, end := from, from+length; at < end; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole follows
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
