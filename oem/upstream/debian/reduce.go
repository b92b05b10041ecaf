package debian

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// neededFields are the fields for resolving and downloading: a third of an index.
var neededFields = []string{"Package", "Version", "Architecture", "Priority", "Essential", "Provides", "Depends", "Pre-Depends", "Filename", "Size", "SHA256"}

// needed returns the number of a field among these, and whether it is one. Case does not matter (deb822(5)).
func needed(name string) (int, bool) {
	for i, known := range neededFields {
		if len(known) == len(name) && (known == name || strings.EqualFold(known, name)) {
			return i, true
		}
	}
	return 0, false
}

// Reduce returns the needed fields of each stanza, one line each. It refuses fields that a stanza has twice, and, other than for
// relations, values of several lines: apt takes other parts of these.
func Reduce(index io.Reader) (string, error) {
	var out strings.Builder
	var fields []field
	for reader := newStanzaReader(index); ; {
		text, err := reader.next()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err == nil {
			fields, err = appendFields(fields[:0], text)
		}
		if err != nil {
			return "", fmt.Errorf("before line %d: %w", reader.line, err)
		}
		seen := 0
		for _, f := range fields {
			i, wanted := needed(f.name)
			if !wanted {
				continue
			}
			name := neededFields[i]
			if seen&(1<<i) != 0 {
				return "", fmt.Errorf("before line %d: the field %s occurs twice", reader.line, name)
			}
			seen |= 1 << i
			if !utf8.ValidString(f.value) || strings.Contains(f.value, "\n") && !strings.HasSuffix(name, "Depends") && name != "Provides" {
				return "", fmt.Errorf("before line %d: field %s: %.80q; wanted one line of text", reader.line, name, f.value)
			}
			out.WriteString(name + ": " + strings.ReplaceAll(f.value, "\n", "") + "\n")
		}
		out.WriteByte('\n')
	}
}
