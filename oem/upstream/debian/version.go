package debian

import (
	"cmp"
	"regexp"
	"strings"
)

// validVersion matches [epoch:]upstream[-revision] (deb-version(7)).
var validVersion = regexp.MustCompile(`^([0-9]+:)?[0-9][A-Za-z0-9.+~:-]*$`)

// ValidVersion tells whether text is a version as Debian policy 5.6.12 has it. Where there is a hyphen, a revision follows; where there
// is no epoch, there is no colon.
func ValidVersion(text string) bool {
	epoch, _, revision := splitVersion(text)
	return validVersion.MatchString(text) && !strings.HasSuffix(text, "-") && !strings.Contains(revision, ":") && len(epoch) <= 9
}

// CompareVersions orders two package versions as dpkg does (deb-version(7)): by epoch, upstream version, revision.
// The result is negative, zero or positive. Invalid versions have a place in the order, too.
func CompareVersions(a, b string) int {
	aEpoch, aUpstream, aRevision := splitVersion(a)
	bEpoch, bUpstream, bRevision := splitVersion(b)
	return cmp.Or(
		compareNumbers(aEpoch, bEpoch),
		compareParts(aUpstream, bUpstream),
		compareParts(aRevision, bRevision),
	)
}

// splitVersion cuts "epoch:upstream-revision". A missing epoch or revision is empty, and equals zero.
func splitVersion(v string) (epoch, upstream, revision string) {
	if before, after, found := strings.Cut(v, ":"); found {
		epoch, v = before, after
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// compareParts compares runs of non-digits and runs of digits in turn.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		var aRun, bRun string
		aRun, a = cutRun(a, func(r rune) bool { return !isDigit(r) })
		bRun, b = cutRun(b, func(r rune) bool { return !isDigit(r) })
		if order := compareText(aRun, bRun); order != 0 {
			return order
		}
		aRun, a = cutRun(a, isDigit)
		bRun, b = cutRun(b, isDigit)
		if order := compareNumbers(aRun, bRun); order != 0 {
			return order
		}
	}
	return 0
}

// cutRun splits a text after the leading runes for which in is true.
func cutRun(text string, in func(rune) bool) (run, rest string) {
	rest = strings.TrimLeftFunc(text, in)
	return text[:len(text)-len(rest)], rest
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// compareNumbers compares digits of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// compareText orders by weight; the end of a text weighs more than a tilde and less than everything else.
func compareText(a, b string) int {
	for i := range max(len(a), len(b)) {
		if order := cmp.Compare(weight(a, i), weight(b, i)); order != 0 {
			return order
		}
	}
	return 0
}

// weight returns the weight of the byte at i: tilde, then the end, then letters, then the rest.
func weight(text string, i int) int {
	if i >= len(text) {
		return 0
	}
	switch c := text[i]; {
	case c == '~':
		return -1
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return int(c)
	default:
		return int(c) + 256
	}
}
