package debian

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// neededFields are the fields for resolving and downloading: a third of an index.
var neededFields = map[string]bool{
	"Package": true, "Version": true, "Architecture": true, "Priority": true, "Essential": true, "Provides": true,
	"Depends": true, "Pre-Depends": true, "Filename": true, "Size": true, "SHA256": true,
}

// Reduce returns the needed fields of each stanza, one line each.
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
		for _, f := range fields {
			if neededFields[f.name] {
				out.WriteString(f.name + ": " + strings.ReplaceAll(f.value, "\n", "") + "\n")
			}
		}
		out.WriteByte('\n')
	}
}
