package binpkg

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// version is a parsed version (PMS 3.2).
type version struct {
	numbers  []string
	letter   string
	suffixes []suffix
	revision string // without leading zeros
}

type suffix struct{ name, number string }

const versionPattern = `([0-9]+(?:\.[0-9]+)*)([a-z]?)((?:_(?:alpha|beta|pre|rc|p)[0-9]*)*)(?:-r([0-9]+))?`

var (
	wholeVersion = regexp.MustCompile(`^` + versionPattern + `$`)
	// Category and name as PMS 3.1 has them, then a version.
	cpvPattern  = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9+_.-]*)/([A-Za-z0-9_][A-Za-z0-9+_-]*?)-(` + versionPattern + `)$`)
	onePart     = regexp.MustCompile(`_(alpha|beta|pre|rc|p)([0-9]*)`)
	suffixOrder = []string{"alpha", "beta", "pre", "rc", "", "p"}
)

// splitCPV splits a name such as "app-emulation/open-vm-tools-12.4.5-r1".
func splitCPV(cpv string) (category, name, version string, err error) {
	match := cpvPattern.FindStringSubmatch(cpv)
	if match == nil {
		return "", "", "", fmt.Errorf("%.80q is not a package; wanted CATEGORY/NAME-VERSION", cpv)
	}
	return match[1], match[2], match[3], nil
}

func parseVersion(text string) (version, bool) {
	match := wholeVersion.FindStringSubmatch(text)
	if match == nil {
		return version{}, false
	}
	v := version{numbers: strings.Split(match[1], "."), letter: match[2], revision: trimZeros(match[4])}
	for _, part := range onePart.FindAllStringSubmatch(match[3], -1) {
		v.suffixes = append(v.suffixes, suffix{part[1], trimZeros(part[2])})
	}
	return v, true
}

// CompareVersions orders two versions (PMS 3.3). Invalid versions come first.
func CompareVersions(a, b string) int {
	x, okX := parseVersion(a)
	y, okY := parseVersion(b)
	if !okX || !okY {
		return cmp.Or(boolOrder(okX, okY), strings.Compare(a, b))
	}
	return cmp.Or(compareUpstream(x, y), compareNumbers(x.revision, y.revision))
}

// compareUpstream compares everything except revisions.
func compareUpstream(x, y version) int {
	order := compareNumbers(trimZeros(x.numbers[0]), trimZeros(y.numbers[0]))
	for i := 1; order == 0 && i < min(len(x.numbers), len(y.numbers)); i++ {
		order = compareComponents(x.numbers[i], y.numbers[i])
	}
	order = cmp.Or(order, len(x.numbers)-len(y.numbers), strings.Compare(x.letter, y.letter))
	for i := 0; order == 0 && i < max(len(x.suffixes), len(y.suffixes)); i++ {
		order = compareSuffixes(at(x.suffixes, i), at(y.suffixes, i))
	}
	return order
}

// compareComponents orders components after the first: one with a leading zero counts as a fraction.
func compareComponents(a, b string) int {
	if a[0] == '0' || b[0] == '0' {
		return strings.Compare(strings.TrimRight(a, "0"), strings.TrimRight(b, "0"))
	}
	return compareNumbers(a, b)
}

func compareSuffixes(a, b suffix) int {
	return cmp.Or(slices.Index(suffixOrder, a.name)-slices.Index(suffixOrder, b.name), compareNumbers(a.number, b.number))
}

// compareNumbers orders numbers of any length that have no leading zeros.
func compareNumbers(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) }

func at(suffixes []suffix, i int) suffix {
	if i < len(suffixes) {
		return suffixes[i]
	}
	return suffix{}
}

func trimZeros(digits string) string { return strings.TrimLeft(digits, "0") }

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
