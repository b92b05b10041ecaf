// Package sums reads and writes lists of digests as sha256sum does.
//
// In: lines of 64 hexadecimal digits, two blanks and a name. Refused: duplicate names, names with directories, and a truncated
// last line.
package sums

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// FileName is the file with the digests of all other files of a release.
const FileName = "SHA256SUMS"

// MaxSize is its maximum length. Ten thousand lines have 1 MB.
const MaxSize = 4 << 20

// Parse reads the output of sha256sum: 64 digits, two blanks, and the name of a file in the same directory. It refuses duplicate
// names and other directories.
func Parse(content []byte) (map[string]digest.SHA256, error) {
	sums := map[string]digest.SHA256{}
	text, ended := strings.CutSuffix(string(content), "\n")
	if !ended {
		return nil, fmt.Errorf("%s is truncated: no line break at the end", FileName)
	}
	for i, line := range strings.Split(text, "\n") {
		digits, name, found := strings.Cut(line, "  ")
		if !found || !isName(name) {
			return nil, fmt.Errorf("%s:%d: wanted 64 hexadecimal digits, two blanks and the name of a file", FileName, i+1)
		}
		sum, err := digest.Parse(digits)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", FileName, i+1, err)
		}
		if _, twice := sums[name]; twice {
			return nil, fmt.Errorf("%s:%d: duplicate name %s", FileName, i+1, name)
		}
		sums[name] = sum
	}
	return sums, nil
}

// isName reports whether a name is a printable name of a file in the same directory.
func isName(name string) bool {
	return name != "" && name != "." && name != ".." && name != FileName && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == '/' || r == '\\' || r > '~'
	})
}

// Format writes sums for sha256sum --check, sorted by name.
func Format(sums map[string]digest.SHA256) []byte {
	var list strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		list.Write(Line(sums[name], name))
	}
	return []byte(list.String())
}

// Line returns the line of one file.
func Line(sum digest.SHA256, name string) []byte { return fmt.Appendf(nil, "%v  %s\n", sum, name) }

// Find returns a file's digest from a foreign list, which may have a star before names, one blank instead of two, and other lines.
func Find(list io.Reader, name string) (digest.SHA256, error) {
	found, there := digest.SHA256{}, false
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		sum, file, _ := strings.Cut(lines.Text(), " ")
		if file != name && file != " "+name && file != "*"+name {
			continue
		}
		d, err := digest.Parse(sum)
		if err != nil {
			return d, err
		}
		if there && found != d {
			return d, fmt.Errorf("two different sums of %s", name)
		}
		found, there = d, true
	}
	if !there && lines.Err() == nil {
		return found, fmt.Errorf("no sum of %s", name)
	}
	return found, lines.Err()
}
