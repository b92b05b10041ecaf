package debian

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of deb822 text. The longest line in Debian's indexes has 30 KB, the longest stanza (InRelease) 190 KB.
const (
	maxLine   = 1 << 20
	maxStanza = 16 << 20
)

// stanzaReader splits deb822 text (deb822(5)) into stanzas, which blank lines separate.
type stanzaReader struct {
	in       *bufio.Reader
	comments bool // are dropped, else refused: only files that people write have some (deb822(5))
	line     int  // last line read
	text     []byte
}

func newStanzaReader(r io.Reader) *stanzaReader {
	return &stanzaReader{in: bufio.NewReaderSize(r, maxLine)}
}

// next returns the text of the next stanza, without comments, and io.EOF after the last.
func (r *stanzaReader) next() (string, error) {
	r.text = r.text[:0]
	for {
		line, err := r.in.ReadSlice('\n')
		r.line++
		blank := len(bytes.TrimSpace(line)) == 0
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return "", fmt.Errorf("line %d is longer than %d bytes", r.line, maxLine)
		case len(r.text)+len(line) > maxStanza:
			return "", fmt.Errorf("line %d: the stanza is longer than %d bytes", r.line, maxStanza)
		case err != nil && err != io.EOF:
			return "", err
		case bytes.ContainsAny(line, "\x00\r"):
			return "", fmt.Errorf("line %d has a zero byte or a carriage return; wanted text", r.line)
		case !blank && line[0] == '#' && !r.comments:
			return "", fmt.Errorf("line %d is a comment; wanted Name: value", r.line)
		case !blank && line[0] != '#':
			r.text = append(r.text, line...)
		}
		if len(r.text) > 0 && (blank || err == io.EOF) {
			return string(r.text), nil
		}
		if errors.Is(err, io.EOF) {
			return "", io.EOF
		}
	}
}

// field is one field of a stanza. Continuation lines of the value keep their leading space.
type field struct {
	name, value string
}

// appendFields appends the fields of a stanza. Names and values are substrings of the text, not copies.
func appendFields(fields []field, text string) ([]field, error) {
	for text != "" {
		end := endOfField(text)
		name, value, found := strings.Cut(text[:end], ":")
		if !found || name == "" || strings.ContainsAny(name, " \t\n") {
			return nil, fmt.Errorf("%.80q is not a field; wanted Name: value", text[:end])
		}
		fields = append(fields, field{name, strings.TrimSpace(value)})
		text = text[end:]
	}
	return fields, nil
}

// endOfField returns the end of a field: its line and continuation lines.
func endOfField(text string) int {
	for end := 0; ; {
		newline := strings.IndexByte(text[end:], '\n')
		if newline < 0 {
			return len(text)
		}
		end += newline + 1
		if end == len(text) || text[end] != ' ' && text[end] != '\t' {
			return end
		}
	}
}

// Stanza is a parsed stanza: values by field name in lower case.
type Stanza map[string]string

func parseStanza(text string) (Stanza, error) {
	fields, err := appendFields(nil, text)
	if err != nil {
		return nil, err
	}
	parsed := Stanza{}
	for _, f := range fields {
		name := strings.ToLower(f.name)
		if name[0] == '-' { // deb822(5)
			return nil, fmt.Errorf("the field %q begins with a hyphen; wanted a letter", f.name)
		}
		if _, twice := parsed[name]; twice {
			return nil, fmt.Errorf("the field %s occurs twice", f.name)
		}
		parsed[name] = f.value
	}
	return parsed, nil
}

// ReadStanzas parses all stanzas of a short text. Comments are refused.
func ReadStanzas(r io.Reader) ([]Stanza, error) { return readStanzas(newStanzaReader(r)) }

// ReadCommented is ReadStanzas of a file that a person writes.
func ReadCommented(r io.Reader) ([]Stanza, error) {
	reader := newStanzaReader(r)
	reader.comments = true
	return readStanzas(reader)
}

func readStanzas(reader *stanzaReader) ([]Stanza, error) {
	var all []Stanza
	for {
		text, err := reader.next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		parsed, err := parseStanza(text)
		if err != nil {
			return nil, fmt.Errorf("stanza that ends on line %d: %w", reader.line, err)
		}
		all = append(all, parsed)
	}
}
