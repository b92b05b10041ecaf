// Package foreign makes text that others wrote safe to show: output of programs, answers of servers, names in archives,
// fields of images.
//
// In goes any text, out comes UTF-8 that stays where it is printed: no control characters (a terminal would obey them),
// no marks that change the direction of text, no bytes that are not UTF-8, and no line that GitHub's runner takes for a command.
// These are written as Go escapes them, such as \x1b. Text without them is unchanged.
package foreign

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Check refuses text that Line would change, as a name or a field of a definition has no use for it.
func Check(text string) error {
	switch {
	case !utf8.ValidString(text):
		return fmt.Errorf("%s is not UTF-8", strconv.QuoteToASCII(text))
	case strings.ContainsFunc(text, isActive):
		return fmt.Errorf("%s has control characters", strconv.QuoteToASCII(text))
	}
	return nil
}

// Line returns text for one line: line breaks and tabs are escaped, too.
func Line(text string) string { return escape(text, "") }

// Text returns text of several lines. Line breaks and tabs stay, and the carriage return before a line break goes.
func Text(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = escape(strings.TrimSuffix(line, "\r"), "\t")
	}
	return strings.Join(lines, "\n")
}

// Writer returns a writer to a terminal or a log: what is written there goes through Text. Each write is for itself, so a character,
// or the beginning of a line, must not be written in parts.
func Writer(out io.Writer) io.Writer { return writer{out} }

type writer struct{ io.Writer }

func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Error returns an error whose text is safe to print, around err.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return shown{err}
}

type shown struct{ error }

func (e shown) Error() string { return Text(e.error.Error()) }
func (e shown) Unwrap() error { return e.error }

// escape escapes one line, except for the control characters in keep.
func escape(line, keep string) string {
	var out strings.Builder
	for rest := line; rest != ""; {
		r, width := utf8.DecodeRuneInString(rest)
		switch {
		case r == utf8.RuneError && width == 1:
			fmt.Fprintf(&out, `\x%02x`, rest[0])
		case isActive(r) && !strings.ContainsRune(keep, r):
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		default:
			out.WriteString(rest[:width])
		}
		rest = rest[width:]
	}
	return asNoCommand(out.String())
}

// isActive tells whether a character does something where it is shown.
func isActive(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

// asNoCommand escapes what GitHub's runner takes for a command: "::" at the beginning of a line, and "##[" anywhere
// (docs.github.com, "Workflow commands for GitHub Actions").
func asNoCommand(line string) string {
	line = strings.ReplaceAll(line, "##[", `#\x23[`)
	start := len(line) - len(strings.TrimLeftFunc(line, unicode.IsSpace))
	if strings.HasPrefix(line[start:], "::") {
		return line[:start] + `\x3a` + line[start+1:]
	}
	return line
}

// JSON returns encoded JSON that is safe to print, with the same meaning: what Text would escape is in its strings, and is written as
// JSON escapes it.
func JSON(encoded string) string {
	var out strings.Builder
	for _, r := range strings.ReplaceAll(encoded, "##[", `#\u0023[`) {
		if isActive(r) && r != '\n' {
			fmt.Fprintf(&out, `\u%04x`, r) // none of them is beyond U+FFFF
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}
