// Package cpio reads and writes the archives that initramfs images are made of: the newc format
// (kernel Documentation/driver-api/early-userspace/buffer-format.rst).
//
// In: an archive, which may be anybody's, uncompressed. Out: its members one after the other. Only one archive is read;
// what follows its trailer is left. Nothing is held in memory but a header and the names.
//
// Refused are, with the byte: fields that are not hexadecimal digits, members with and without sums in one archive, types that no file
// has, content of what has none, names that are empty, have "..", end with a slash and are no directory's, or come twice, sums in the format without, and anything but zeros between members.
package cpio

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
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

// kinds are all types that a mode can have.
var kinds = []uint32{ModeFile, modeDir, modeLink, 0o140000, 0o060000, 0o020000, 0o010000}

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
	at      int64             // how much was read
	content int64             // how much of the member's content is left
	kinds   map[string]uint32 // types of the members so far, by clean name
	magic   string            // of the first member
}

// Is tells whether content that begins like this is an archive.
func Is(head []byte) bool {
	return strings.HasPrefix(string(head), magic) || strings.HasPrefix(string(head), magicSum)
}

// NewReader returns a reader of the archive in r.
func NewReader(r io.Reader) *Reader { return &Reader{in: r, kinds: map[string]uint32{}} }

// Length returns how much was read: after the last member, to the end of the archive.
func (r *Reader) Length() int64 { return r.at }

// Next goes to the next member, whose content Read then returns. After the last one it is io.EOF.
func (r *Reader) Next() (*Header, error) {
	if err := r.skip(r.content); err != nil {
		return nil, err
	}
	if err := r.zeros(padding(r.at)); err != nil {
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
	if r.magic = cmp.Or(r.magic, string(head[:6])); r.magic != string(head[:6]) {
		return nil, fmt.Errorf("byte %d: cpio magic is %.6q, that of the members before is %q; wanted one format", offset, head, r.magic)
	}
	h := &Header{Offset: offset, Summed: strings.HasPrefix(string(head), magicSum)}
	var values [13]uint32
	for i, name := range fieldNames {
		at := 6 + 8*i
		value, err := strconv.ParseUint(string(head[at:at+8]), 16, 32)
		if err != nil {
			return nil, fmt.Errorf("byte %d: cpio %s is %q; wanted 8 hexadecimal digits", offset+int64(at), name, head[at:at+8])
		}
		values[i] = uint32(value)
	}
	nameLength := values[11]
	h.Mode, h.Size, h.Sum = values[1], values[6], values[12]
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
	h.Name = text
	if err := r.check(h); err != nil {
		return nil, fmt.Errorf("byte %d: cpio member %.80q %w", offset, text, err)
	}
	if text == trailer {
		// What fills up the last four bytes may be missing at the end of everything.
		if err := r.zeros(padding(r.at)); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		return nil, io.EOF
	}
	if err := r.zeros(padding(r.at)); err != nil {
		return nil, err
	}
	r.content = int64(h.Size)
	return h, nil
}

// fieldNames are those of a header, in order.
var fieldNames = [13]string{
	"inode", "mode", "user", "group", "number of links", "time", "file size", "device's major number", "device's minor number",
	"major number", "minor number", "name size", "checksum",
}

// maxMembers limits what is remembered of an archive. The largest initramfs has some thousand.
const maxMembers = 1 << 20

// check refuses what a header says against the format, or against what came before.
func (r *Reader) check(h *Header) error {
	kind := h.Mode & ModeType
	if h.Name == trailer {
		if h.Size != 0 {
			return fmt.Errorf("has %d bytes of content; the end of an archive has none", h.Size)
		}
		return nil
	}
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	before, twice := r.kinds[name]
	switch {
	case h.Name == "":
		return errors.New("has no name")
	case slices.Contains(strings.Split(h.Name, "/"), ".."):
		return errors.New(`has ".." in its name`)
	case kind != modeDir && (strings.HasSuffix(h.Name, "/") || strings.HasSuffix(h.Name, "/.")):
		return errors.New("has a name that ends with a slash and is no directory")
	case kind == modeLink && h.Size == 0:
		return errors.New("is a symbolic link without a target")
	case !slices.Contains(kinds, kind):
		return fmt.Errorf("has mode %o, which is no kind of file", h.Mode)
	case kind != ModeFile && kind != modeLink && h.Size != 0:
		return fmt.Errorf("has mode %o and %d bytes of content; wanted content of files and symbolic links only", h.Mode, h.Size)
	case !h.Summed && h.Sum != 0:
		return fmt.Errorf("has checksum %d in an archive without checksums (%s); wanted 0", h.Sum, magic)
	case h.Summed && kind != ModeFile && h.Sum != 0:
		return fmt.Errorf("has checksum %d and is no file; wanted 0", h.Sum)
	case twice && (kind != modeDir || before != modeDir):
		return errors.New("is in the archive twice")
	case len(r.kinds) >= maxMembers:
		return fmt.Errorf("is one of more than %d members", maxMembers)
	}
	r.kinds[name] = kind
	return nil
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

// zeros reads what fills up the last four bytes.
func (r *Reader) zeros(length int64) error {
	at, p := r.at, make([]byte, length)
	if err := r.fill(p, "content"); err != nil {
		return err
	}
	if strings.Trim(string(p), "\x00") != "" {
		return fmt.Errorf("byte %d: %q fills up a cpio member; wanted zeros", at, p)
	}
	return nil
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
