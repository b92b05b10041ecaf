package verify

import (
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// SumsName is the file that has the digests of all others, as sha256sum writes it.
const SumsName = "SHA256SUMS"

// maxSums is how much of it is read. Ten thousand lines have 1 MB.
const maxSums = 4 << 20

// ParseSums reads lines as sha256sum writes them: 64 digits, two blanks, and the name of a file in the same directory.
// It refuses names that appear twice, and those that lead elsewhere.
func ParseSums(content []byte) (map[string]digest.SHA256, error) {
	sums := map[string]digest.SHA256{}
	text, ended := strings.CutSuffix(string(content), "\n")
	if !ended {
		return nil, fmt.Errorf("%s does not end with a line break; the rest of it is missing", SumsName)
	}
	for i, line := range strings.Split(text, "\n") {
		digits, name, found := strings.Cut(line, "  ")
		if !found || !isName(name) {
			return nil, fmt.Errorf("%s:%d: wanted 64 hexadecimal digits, two blanks and the name of a file", SumsName, i+1)
		}
		sum, err := digest.Parse(digits)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", SumsName, i+1, err)
		}
		if _, twice := sums[name]; twice {
			return nil, fmt.Errorf("%s:%d: %s for the second time", SumsName, i+1, name)
		}
		sums[name] = sum
	}
	return sums, nil
}

// isName tells whether a name is one file's in the same directory, and shows as what it is.
func isName(name string) bool {
	return name != "" && name != "." && name != ".." && name != SumsName && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == '/' || r == '\\' || r > '~'
	})
}
