// Package initramfs reads the buffer that a kernel unpacks into its first root file system: any sequence of zeros, cpio archives
// and compressed cpio archives, as concatenated by boot loaders.
//
// In: an untrusted buffer. Out: its segments, with offset, length and compression, their members, and the first broken rule,
// on which a kernel fails or silently drops something
// (kernel Documentation/driver-api/early-userspace/buffer-format.rst, init/initramfs.c).
//
// Content is streamed; only the names of directories and symbolic links are kept. gzip, zstd and xz are decompressed; other
// compressions are only named, and reading stops there, because the end of such a segment is unknown.
package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/release/format/cpio"
)

// Segment is one archive of the buffer, or several that were compressed as one.
type Segment struct {
	Offset      int64
	Length      int64 // zero while its members are read
	Compression Compression
	Members     int
}

// Member is one file, directory or whatever else, of a segment.
type Member struct {
	cpio.Header
	Target string // of a symbolic link
}

// Broken is a rule that a buffer breaks.
type Broken struct {
	Offset int64 // in the buffer, of what breaks it: a segment or, where that is not compressed, a member
	Text   string
}

func (b *Broken) Error() string { return fmt.Sprintf("byte %d: %s", b.Offset, b.Text) }

// Visitor is called for each member. It may read the content of a file.
type Visitor func(s Segment, m Member, content io.Reader) error

// Read reads a buffer. broken is the first broken rule; reading stops there if the rest cannot be interpreted. The error is a
// read error or the visitor's.
func Read(in io.Reader, visit Visitor) (segments []Segment, broken *Broken, err error) {
	r := &reader{visit: visit, names: names{"dev": {}, "root": {}}} // made by the kernel
	r.in = newSource(in)
	for {
		s, err := r.segment()
		if s.Offset < r.in.at {
			s.Length = r.in.at - s.Offset
			segments = append(segments, s)
		}
		if errors.Is(err, io.EOF) {
			return segments, r.broken, nil
		}
		if r.in.failed != nil {
			return segments, r.broken, r.in.failed
		}
		if failed := (*visitorError)(nil); errors.As(err, &failed) {
			return segments, r.broken, failed.error
		}
		if err != nil {
			r.breaks(s.Offset, "%v", err)
			return segments, r.broken, nil
		}
	}
}

type visitorError struct{ error }

type reader struct {
	in      *source
	visit   Visitor
	names   names
	broken  *Broken
	archive bool // the last segment was not compressed
}

// breaks notes the first broken rule.
func (r *reader) breaks(offset int64, format string, args ...any) {
	if r.broken == nil {
		r.broken = &Broken{offset, fmt.Sprintf(format, args...)}
	}
}

// segment reads the next segment. After the last one it is io.EOF.
func (r *reader) segment() (Segment, error) {
	if err := r.in.skipZeros(); err != nil {
		return Segment{Offset: r.in.at}, err
	}
	s := Segment{Offset: r.in.at}
	head, err := r.in.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return s, err
	}
	aligned := s.Offset%4 == 0
	if head[0] == '0' {
		if !aligned {
			return s, fmt.Errorf("an uncompressed archive begins %d bytes after a multiple of 4; pad the data before it with zeros", s.Offset%4)
		}
		r.archive = true
		return s, r.members(&s, r.in)
	}
	if r.archive && !aligned {
		return s, fmt.Errorf("the data behind an uncompressed archive begins %d bytes after a multiple of 4; pad the data before it with zeros", s.Offset%4)
	}
	r.archive = false
	if s.Compression = detect(head); s.Compression == None {
		return s, fmt.Errorf("%q begins neither an archive nor a compression that kernels know", head)
	}
	return s, r.compressed(&s)
}

// compressed reads a compressed segment.
func (r *reader) compressed(s *Segment) error {
	unpacked, err := s.Compression.open(r.in)
	if err != nil {
		return err
	}
	inner := newSource(unpacked)
	archives := 0
	for {
		if err := inner.skipZeros(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("%s: %w", s.Compression, err)
		}
		head, _ := inner.Peek(1)
		switch {
		case inner.at%4 != 0:
			return fmt.Errorf("%s: the data behind an archive begins at decompressed byte %d; wanted a multiple of 4", s.Compression, inner.at)
		case head[0] != '0':
			return fmt.Errorf("%s: junk at decompressed byte %d; wanted archives and zeros", s.Compression, inner.at)
		}
		if err := r.members(s, inner); err != nil {
			return fmt.Errorf("%s: %w", s.Compression, err)
		}
		archives++
	}
	if archives == 0 {
		return fmt.Errorf("%s: contains no archive", s.Compression)
	}
	return nil
}

// members reads one archive.
func (r *reader) members(s *Segment, in *source) error {
	start := in.at
	archive := cpio.NewReader(in)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.Members++
		m := Member{Header: *h}
		at := s.Offset
		if s.Compression == None {
			at = start + h.Offset
		}
		if err := r.member(*s, m, at, archive); err != nil {
			return err
		}
	}
}

func (r *reader) member(s Segment, m Member, at int64, archive *cpio.Reader) error {
	if m.IsLink() {
		if m.Size == 0 || m.Size >= maxTarget {
			r.breaks(at, "%s: a symbolic link's target of %d bytes; wanted 1 to %d, or kernels drop it", printable(m.Name), m.Size, maxTarget-1)
		} else {
			target, err := io.ReadAll(archive)
			if err != nil {
				return err
			}
			m.Target = string(target)
		}
	}
	if err := r.names.add(m); err != nil {
		r.breaks(at, "%v", err)
	}
	if !m.Summed || m.IsLink() {
		if err := r.visit(s, m, archive); err != nil {
			return &visitorError{err}
		}
		return nil
	}
	sum := &summer{in: archive}
	if err := r.visit(s, m, sum); err != nil {
		return &visitorError{err}
	}
	if _, err := io.Copy(io.Discard, sum); err != nil {
		return err
	}
	if sum.sum != m.Sum {
		return fmt.Errorf("%s: checksum of the content is %d; wanted %d", printable(m.Name), sum.sum, m.Sum)
	}
	return nil
}

// summer adds up bytes, as the format with checksums does.
type summer struct {
	in  io.Reader
	sum uint32
}

func (s *summer) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	for _, b := range p[:n] {
		s.sum += uint32(b)
	}
	return n, err
}

// source counts the bytes read and distinguishes read errors from the end.
type source struct {
	buffer *bufio.Reader
	at     int64
	failed error
}

func newSource(in io.Reader) *source {
	s := &source{}
	s.buffer = bufio.NewReaderSize(watched{in, &s.failed}, 64<<10)
	return s
}

type watched struct {
	io.Reader
	failed *error
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		*w.failed = err
	}
	return n, err
}

// Peek returns the next n bytes, or fewer and io.EOF at the end, without reading them.
func (s *source) Peek(n int) ([]byte, error) { return s.buffer.Peek(n) }

func (s *source) Read(p []byte) (int, error) {
	n, err := s.buffer.Read(p)
	s.at += int64(n)
	return n, err
}

// ReadByte keeps decompressors from reading beyond the end of their segment.
func (s *source) ReadByte() (byte, error) {
	b, err := s.buffer.ReadByte()
	if err == nil {
		s.at++
	}
	return b, err
}

func (s *source) skipZeros() error {
	for {
		b, err := s.Peek(1)
		if err != nil {
			return err
		}
		if b[0] != 0 {
			return nil
		}
		if _, err := s.ReadByte(); err != nil {
			return err
		}
	}
}
