package recipe

import (
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Path is an absolute path below /usr, cleaned.
type Path string

// UnmarshalText refuses paths outside /usr.
func (p *Path) UnmarshalText(text []byte) error {
	path := string(text)
	if !strings.HasPrefix(path, "/usr/") || !fs.ValidPath(path[1:]) {
		return fmt.Errorf("%q; wanted a clean path below /usr/, such as /usr/bin/agent", path)
	}
	*p = Path(path)
	return nil
}

// Homepage is the address of a page for people.
type Homepage string

// UnmarshalText refuses what is no link to a page: a browser may run other addresses.
func (h *Homepage) UnmarshalText(text []byte) error {
	address, err := url.Parse(string(text))
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Hostname() == "" || address.User != nil {
		return fmt.Errorf("homepage %q; wanted an address such as https://example.org/agent", text)
	}
	*h = Homepage(text)
	return nil
}

// Limit is a size with a unit.
type Limit struct{ size.Bytes }

// UnmarshalText reads what size.Parse reads, except 0.
func (l *Limit) UnmarshalText(text []byte) (err error) {
	l.Bytes, err = size.Parse(string(text))
	if err == nil && l.Bytes == 0 {
		return fmt.Errorf("a limit of 0; wanted the largest packed size, such as 24 MiB")
	}
	return err
}

// Glob is a pattern for absolute paths: *, ?, [a-z], {a,b}, and ** for any number of directories.
// A matching directory includes everything below it.
type Glob string

// UnmarshalText refuses relative and malformed patterns.
func (g *Glob) UnmarshalText(text []byte) error {
	pattern := string(text)
	if !strings.HasPrefix(pattern, "/") || !doublestar.ValidatePattern(pattern) {
		return fmt.Errorf("%q; wanted an absolute pattern, such as /usr/lib/**/{test,tests}", pattern)
	}
	*g = Glob(pattern)
	return nil
}

// Match tells whether the pattern matches a path itself.
func (g Glob) Match(path string) bool { return doublestar.MatchUnvalidated(string(g), path) }

// Pattern is a regular expression of package regexp, not anchored. Its zero value is an absent key.
type Pattern struct{ *regexp.Regexp }

// MarshalText writes what UnmarshalText reads.
func (p Pattern) MarshalText() ([]byte, error) {
	if p.Regexp == nil {
		return nil, nil
	}
	return []byte(p.String()), nil
}

// UnmarshalText refuses invalid regular expressions.
func (p *Pattern) UnmarshalText(text []byte) (err error) {
	if p.Regexp, err = regexp.Compile(string(text)); err != nil {
		return fmt.Errorf("%q is not a regular expression: %w", text, err)
	}
	return nil
}
