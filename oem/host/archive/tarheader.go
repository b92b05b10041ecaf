package archive

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// tarBlock is the unit that tar archives are made of (POSIX.1-2017, pax, "ustar Interchange Format").
const tarBlock = 512

// maxExtended limits the content of an extended header, as package tar does.
const maxExtended = 1 << 20

// headers checks the headers of a tar stream while its bytes go by. Package tar reads what is ambiguous in one way, GNU tar and
// libarchive in others; here it is refused. Feed it everything that is read.
type headers struct {
	block [tarBlock]byte
	have  int   // bytes of block
	skip  int64 // bytes of content before the next header
	at    int64 // where the block begins
	next  func(block []byte) error

	extended *extended // what is being read
	content  []byte
	left     int64 // bytes of content that are still missing
	before   map[byte]*extended
	size     int64 // of a sparse file whose header goes on
}

// extended is a header that says something about the next one.
type extended struct {
	kind    byte   // x, g, L or K
	name    string // of L and K
	records map[string]string
}

// headerError says which entry has a header that is wrong.
type headerError struct {
	entry string
	err   error
}

func (e *headerError) Error() string { return fmt.Sprintf("entry %q: %v", e.entry, e.err) }
func (e *headerError) Unwrap() error { return e.err }

func newHeaders() *headers {
	h := &headers{before: map[byte]*extended{}}
	h.next = h.header
	return h
}

// feed checks the headers that end in these bytes.
func (h *headers) feed(p []byte) error {
	for len(p) > 0 && h.next != nil {
		if h.skip > 0 {
			n := min(h.skip, int64(len(p)))
			h.skip, h.at, p = h.skip-n, h.at+n, p[n:]
			continue
		}
		n := copy(h.block[h.have:], p)
		h.have, p = h.have+n, p[n:]
		if h.have < tarBlock {
			return nil
		}
		if err := h.next(h.block[:]); err != nil {
			return err
		}
		h.have, h.at = 0, h.at+tarBlock
	}
	return nil
}

// Where the fields of a header are.
var (
	tarName     = [2]int{0, 100}
	tarSize     = [2]int{124, 136}
	tarLinkname = [2]int{157, 257}
	tarMagic    = [2]int{257, 265}
)

const tarType = 156

func of(block []byte, field [2]int) []byte { return block[field[0]:field[1]] }

// string0 is a text up to its first zero, or to the end.
func string0(field []byte) string {
	text, _, _ := bytes.Cut(field, []byte{0})
	return string(text)
}

// header checks a header, or sees the end of the archive.
func (h *headers) header(block []byte) error {
	name := string0(of(block, tarName))
	if len(bytes.Trim(block, "\x00")) == 0 {
		h.next = nil
		if len(h.before) > 0 {
			return errors.New("an extended header at the end of the archive; wanted the entry that it is of")
		}
		return nil
	}
	if err := h.entry(block, name); err != nil {
		return &headerError{name, fmt.Errorf("header at byte %d: %w", h.at, err)}
	}
	return nil
}

func (h *headers) entry(block []byte, name string) error {
	if err := checkNumbers(block); err != nil {
		return err
	}
	length, _ := tarNumber(of(block, tarSize)) // is one
	kind := block[tarType]
	switch kind {
	case 'x', 'g', 'L', 'K':
		return h.begin(kind, length)
	case 0, '0', '1', '2', '3', '4', '5', '6', 'S':
	default:
		return fmt.Errorf("has the type %q; wanted a file, a directory or a link", kind)
	}
	before := h.before
	h.before = map[byte]*extended{}
	if err := checkExtended(before, kind); err != nil {
		return err
	}
	if x := before['x']; x != nil && x.records["size"] != "" {
		length, _ = strconv.ParseInt(x.records["size"], 10, 63) // is one
		if kind == 'S' {
			return errors.New("is sparse and has a second size")
		}
	}
	if x := before['x']; x != nil && x.records["path"] != "" {
		name = x.records["path"]
	} else if l := before['L']; l != nil {
		name = l.name
	}
	if kind == '0' && strings.HasSuffix(name, "/") {
		return errors.New("has a name that ends with a slash and is no directory")
	}
	isLink := kind == '1' || kind == '2'
	if isLink && string0(of(block, tarLinkname)) == "" {
		return errors.New("links to an empty name or target")
	}
	if kind == '5' || isLink || kind == '3' || kind == '4' || kind == '6' {
		if length != 0 {
			return fmt.Errorf("has %d bytes of content and is no file; wanted none", length)
		}
		return nil
	}
	h.size = padded(length)
	if kind == 'S' && block[482] != 0 { // isextended (GNU tar, "Basic Tar Format")
		h.next = h.sparse
		return nil
	}
	h.skip = h.size
	return nil
}

func padded(length int64) int64 { return (length + tarBlock - 1) / tarBlock * tarBlock }

// sparse goes past a block with more of a sparse file's map.
func (h *headers) sparse(block []byte) error {
	if block[504] == 0 { // isextended
		h.next, h.skip = h.header, h.size
	}
	return nil
}

// begin reads an extended header.
func (h *headers) begin(kind byte, length int64) error {
	x := &extended{kind: kind}
	others := len(h.before)
	if h.before['L'] != nil || h.before['K'] != nil {
		if kind == 'L' || kind == 'K' {
			others-- // a long name and a long target belong together
		}
	}
	switch {
	case h.before[kind] != nil || others > 0:
		return fmt.Errorf("a header of the type %q between another extended header and its entry", kind)
	case length > maxExtended:
		return fmt.Errorf("an extended header of %d bytes; wanted at most %d", length, maxExtended)
	case length == 0 && (kind == 'L' || kind == 'K'):
		return errors.New("an empty name or target")
	}
	h.extended, h.content, h.left, h.next = x, nil, length, h.more
	if length == 0 {
		return h.end()
	}
	return nil
}

func (h *headers) more(block []byte) error {
	n := min(h.left, tarBlock)
	h.content, h.left = append(h.content, block[:n]...), h.left-n
	if h.left > 0 {
		return nil
	}
	if err := h.end(); err != nil {
		return &headerError{string0(h.content[:min(len(h.content), MaxName)]), fmt.Errorf("extended header before byte %d: %w", h.at+tarBlock, err)}
	}
	return nil
}

// end has read all of an extended header.
func (h *headers) end() (err error) {
	x := h.extended
	h.next = h.header
	if x.kind == 'L' || x.kind == 'K' {
		if text, ended := bytes.CutSuffix(h.content, []byte{0}); !ended || len(text) == 0 || bytes.IndexByte(text, 0) >= 0 {
			return errors.New("a long name or target that does not end in its one zero")
		}
		x.name = string(h.content[:len(h.content)-1])
		h.before[x.kind] = x
		return nil
	}
	if x.records, err = paxRecords(h.content); err != nil {
		return err
	}
	if x.kind == 'g' {
		for key := range x.records {
			if key != "comment" {
				return fmt.Errorf("sets %q for all entries; wanted nothing but a comment", key)
			}
		}
		return nil
	}
	h.before['x'] = x
	return nil
}

// checkNumbers checks the fields of a header that are numbers, and what readers of the GNU format take for another part of the name.
func checkNumbers(block []byte) error {
	for _, f := range []struct {
		name     string
		at       [2]int
		min, max int64
	}{
		{"mode", [2]int{100, 108}, 0, 1<<32 - 1}, {"user", [2]int{108, 116}, 0, maxID}, {"group", [2]int{116, 124}, 0, maxID},
		{"size", tarSize, 0, 1<<63 - 1}, {"time", [2]int{136, 148}, minTime, maxTime},
		{"device", [2]int{329, 337}, 0, 1<<32 - 1}, {"device", [2]int{337, 345}, 0, 1<<32 - 1},
	} {
		if string0(of(block, tarMagic)) == "" && f.name == "device" {
			continue // the oldest format has no such fields
		}
		n, ok := tarNumber(of(block, f.at))
		if !ok || n < f.min || n > f.max {
			return fmt.Errorf("%s at byte %d is %q; wanted an octal number from %d to %d", f.name, f.at[0], of(block, f.at), f.min, f.max)
		}
	}
	if string(of(block, tarMagic)) != "ustar  \x00" {
		return nil
	}
	_, accessed := tarNumber(block[345:357])
	_, changed := tarNumber(block[357:369])
	if !accessed || !changed || block[tarType] != 'S' && len(bytes.Trim(block[369:], "\x00")) > 0 {
		return errors.New("has something in place of the prefix, which the GNU format does not have")
	}
	return nil
}

// Limits of what Linux and its file systems can store. Larger times wrap around somewhere.
const (
	maxID   = 1<<32 - 2
	minTime = -1 << 31
	maxTime = 1<<33 - 1
)

// tarNumber reads an octal number with blanks before and blanks or zeros behind it, or one of GNU tar with the highest bit set.
func tarNumber(field []byte) (int64, bool) {
	if field[0]&0x80 != 0 {
		return binaryNumber(field)
	}
	digits := strings.TrimLeft(strings.TrimRight(string(field), " \x00"), " ")
	if digits == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(digits, 8, 64)
	return n, err == nil && digits[0] != '-' && digits[0] != '+'
}

// binaryNumber reads a big-endian number in two's complement behind one bit (GNU tar, "Extensions to the tar format").
func binaryNumber(field []byte) (int64, bool) {
	negative := field[0] == 0xff
	if !negative && field[0] != 0x80 {
		return 0, false
	}
	fill := byte(0)
	if negative {
		fill = 0xff
	}
	body := field[1:]
	n := int64(int8(fill))
	for i, b := range body {
		if i < len(body)-8 && b != fill {
			return 0, false
		}
		n = n<<8 | int64(b)
	}
	return n, (n < 0) == negative
}

// paxRecords reads the records of an extended header: "LENGTH KEY=VALUE" and a line break each.
func paxRecords(content []byte) (map[string]string, error) {
	records := map[string]string{}
	for rest := string(content); rest != ""; {
		digits, _, _ := strings.Cut(rest[:min(len(rest), 20)], " ")
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || digits[0] == '0' || digits[0] == '+' || int(n) > len(rest) || int(n) < len(digits)+2 || rest[n-1] != '\n' {
			return nil, fmt.Errorf("has the record %.40q; wanted its length, a blank, a name, =, a value and a line break", rest)
		}
		key, value, found := strings.Cut(rest[len(digits)+1:n-1], "=")
		rest = rest[n:]
		if _, twice := records[key]; twice || !found {
			return nil, fmt.Errorf("has the record %q twice, or without a value", key)
		}
		records[key] = value
	}
	return records, nil
}
