// Package newer finds newer versions and writes them into recipes.
package newer

import (
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/yamledit"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// Version is a newer version, and the changes to the recipe.
type Version struct {
	Name     string // module, repository or file
	From, To string // versions

	Edits []Edit
}

// Edit is a new value for one key of a source.
type Edit struct {
	Path  []any // of keys
	Value string
}

// Apply writes a newer version of the source at this position into a recipe.
func (n *Version) Apply(definition []byte, position int, kind string) ([]byte, error) {
	var err error
	for _, e := range n.Edits {
		if definition, err = yamledit.Set(definition, e.Value, append([]any{"sources", position, kind}, e.Path...)...); err != nil {
			return nil, err
		}
	}
	return definition, nil
}

// Highest returns the highest matching version above the current one, or empty.
func Highest(versions []string, current string, pattern recipe.Pattern, compare func(a, b string) int) string {
	best := ""
	for _, version := range versions {
		if pattern.Regexp != nil && !pattern.MatchString(version) || !plain(version) || compare(version, current) <= 0 {
			continue
		}
		if best == "" || compare(version, best) > 0 {
			best = version
		}
	}
	return best
}

// plain refuses unusual characters, since versions become parts of paths and addresses.
func plain(version string) bool {
	return version != "" && !strings.Contains(version, "..") && !strings.ContainsFunc(version, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune(".+-_~", r)
	})
}

// CompareTags orders versions as Debian does, ignoring a leading v.
func CompareTags(a, b string) int {
	return debian.CompareVersions(strings.TrimPrefix(a, "v"), strings.TrimPrefix(b, "v"))
}
