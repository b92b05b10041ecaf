// Package cpio reads and writes the archives that initramfs images are made of: the newc format
// (kernel Documentation/driver-api/early-userspace/buffer-format.rst).
//
// In: an archive, which may be anybody's, uncompressed. Out: its members one after the other. Only one archive is read;
// what follows its trailer is left. Nothing is held in memory but a header and a name, and of what is written the names.
package cpio

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	magic        = "070701" // newc; 070702 has checksums in addition
	magicSum     = "070702"
	magicOld     = "070707" // the format that POSIX has, without hexadecimal digits
	headerLength = 110      // the magic and 13 fields of 8 hexadecimal digits
	maxName      = 4096     // PATH_MAX, with the final zero
	trailer      = "TRAILER!!!"
)

// Type bits of a mode (inode(7)).
const (
	ModeType = 0o170000
	ModeFile = 0o100000
	modeDir  = 0o040000
	modeLink = 0o120000
)

// Header is what an archive says about a member.
type Header struct {
	Name   string
	Mode   uint32 // type and permissions
	Size   uint32 // of the content, in bytes
	Offset int64  // where the header begins in the archive
	Summed bool   // Sum is that of the content's bytes
	Sum    uint32
}

// IsDir tells whether the member is a directory.
func (h *Header) IsDir() bool { return h.Mode&ModeType == modeDir }

// IsLink tells whether the member is a symbolic link, whose content is its target.
func (h *Header) IsLink() bool { return h.Mode&ModeType == modeLink }

// Reader reads an archive.
type Reader struct {
	in      io.Reader
	at      int64 // how much was read
	content int64 // how much of the member's content is left
}

// Is tells whether content that begins like this is an archive.
func Is(head []byte) bool {
	return strings.HasPrefix(string(head), magic) || strings.HasPrefix(string(head), magicSum)
}

// NewReader returns a reader of the archive in r.
func NewReader(r io.Reader) *Reader { return &Reader{in: r} }

// Length returns how much was read: after the last member, to the end of the archive.
func (r *Reader) Length() int64 { return r.at }

// Next goes to the next member, whose content Read then returns. After the last one it is io.EOF.
func (r *Reader) Next() (*Header, error) {
	if err := r.skip(r.content + padding(r.at+r.content)); err != nil {
		return nil, err
	}
	r.content = 0
	offset := r.at
	head := make([]byte, headerLength)
	if err := r.fill(head, "header"); err != nil {
		return nil, err
	}
	if !Is(head) {
		return nil, fmt.Errorf("byte %d: cpio magic is %.6q%s; wanted %q", offset, head, known(head), magic)
	}
	h := &Header{Offset: offset, Summed: strings.HasPrefix(string(head), magicSum)}
	var nameLength uint32
	for _, f := range []struct {
		name  string
		index int64
		into  *uint32
	}{{"mode", 1, &h.Mode}, {"file size", 6, &h.Size}, {"name size", 11, &nameLength}, {"checksum", 12, &h.Sum}} {
		at := 6 + 8*f.index
		value, err := strconv.ParseUint(string(head[at:at+8]), 16, 32)
		if err != nil {
			return nil, fmt.Errorf("byte %d: cpio %s is %q; wanted 8 hexadecimal digits", offset+at, f.name, head[at:at+8])
		}
		*f.into = uint32(value)
	}
	if nameLength < 1 || nameLength > maxName {
		return nil, fmt.Errorf("byte %d: cpio name has %d bytes; wanted 1 to %d", offset+6+8*11, nameLength, maxName)
	}
	name := make([]byte, nameLength)
	if err := r.fill(name, "name"); err != nil {
		return nil, err
	}
	text, isText := strings.CutSuffix(string(name), "\x00")
	if !isText || strings.Contains(text, "\x00") {
		return nil, fmt.Errorf("byte %d: cpio name %.40q does not end in its one zero", offset+headerLength, name)
	}
	if h.Name = text; text == trailer {
		// What fills up the last four bytes may be missing at the end of everything.
		if err := r.skip(int64(h.Size) + padding(r.at+int64(h.Size))); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		return nil, io.EOF
	}
	if err := r.skip(padding(r.at)); err != nil {
		return nil, err
	}
	r.content = int64(h.Size)
	return h, nil
}

// known names a format that is taken for ours.
func known(head []byte) string {
	if strings.HasPrefix(string(head), magicOld) {
		return ", that of cpio's old portable format (odc)"
	}
	return ""
}

// Read reads the content of the member that Next went to.
func (r *Reader) Read(p []byte) (int, error) {
	if r.content == 0 {
		return 0, io.EOF
	}
	n, err := r.in.Read(p[:min(int64(len(p)), r.content)])
	r.at += int64(n)
	r.content -= int64(n)
	if errors.Is(err, io.EOF) && r.content > 0 {
		err = r.ends("content")
	}
	return n, err
}

// padding is how many bytes lie before the next multiple of four.
func padding(at int64) int64 { return -at & 3 }

func (r *Reader) fill(p []byte, what string) error {
	n, err := io.ReadFull(r.in, p)
	r.at += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.ends(what)
	}
	return err
}

func (r *Reader) skip(length int64) error {
	n, err := io.CopyN(io.Discard, r.in, length)
	r.at += n
	if errors.Is(err, io.EOF) {
		return r.ends("content")
	}
	return err
}

func (r *Reader) ends(within string) error {
	return fmt.Errorf("the cpio archive ends at byte %d, within a %s: %w", r.at, within, io.ErrUnexpectedEOF)
}
