package debian

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// arReader reads the members of an ar archive in order (ar(5), deb(5)).
// A .deb has only short names, so GNU and BSD long names are not supported.
type arReader struct {
	in     io.Reader
	member *io.LimitedReader // the current one
	pad    int64             // padding after it: members begin at even offsets
}

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
)

func newArReader(in io.Reader) (*arReader, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != arMagic {
		return nil, errors.New("not a .deb: no ar header")
	}
	return &arReader{in: in, member: &io.LimitedReader{R: in}}, nil
}

// next skips the rest of the current member and returns name and content of the next; io.EOF after the last.
func (a *arReader) next() (name string, content io.Reader, err error) {
	if err := a.skip(); err != nil {
		return "", nil, err
	}
	header := make([]byte, arHeaderSize)
	if _, err := io.ReadFull(a.in, header); errors.Is(err, io.EOF) {
		return "", nil, io.EOF
	} else if err != nil {
		return "", nil, fmt.Errorf("header of a member: %w", err)
	}
	if string(header[58:]) != "`\n" {
		return "", nil, fmt.Errorf("header of a member ends in %q; wanted a backtick and a newline", header[58:])
	}
	// Numbers: time, user and group in decimal, the mode in octal; spaces fill them up (ar(5)).
	for _, f := range []struct {
		name     string
		from, to int
		base     int
	}{{"time", 16, 28, 10}, {"user", 28, 34, 10}, {"group", 34, 40, 10}, {"mode", 40, 48, 8}} {
		text := strings.TrimRight(string(header[f.from:f.to]), " ")
		if _, err := strconv.ParseUint(text, f.base, 62); err != nil && text != "" {
			return "", nil, fmt.Errorf("member %q: %s is %q; wanted a number", header[:16], f.name, text)
		}
	}
	name = strings.TrimSuffix(strings.TrimRight(string(header[:16]), " "), "/")
	length, err := strconv.ParseUint(strings.TrimRight(string(header[48:58]), " "), 10, 62)
	if err != nil {
		return "", nil, fmt.Errorf("member %q: length: %w", name, err)
	}
	a.member.N, a.pad = int64(length), int64(length%2)
	return name, a.member, nil
}

func (a *arReader) skip() error {
	left := a.member.N
	if n, err := io.Copy(io.Discard, a.member); err != nil || n < left {
		return errors.Join(err, errors.New("the last member is truncated"))
	}
	var pad strings.Builder
	n, err := io.CopyN(&pad, a.in, a.pad)
	if errors.Is(err, io.EOF) && n < a.pad {
		err = nil // writers may omit the final padding
	}
	if pad.String() != "" && pad.String() != "\n" {
		err = fmt.Errorf("%q fills up a member; wanted a line break", &pad)
	}
	a.pad = 0
	return err
}
