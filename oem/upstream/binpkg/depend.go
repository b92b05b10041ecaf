package binpkg

import (
	"fmt"
	"regexp"
	"strings"
)

// A dependency is an atom, anyOf (one is enough) or allOf.
type (
	anyOf []any
	allOf []any
)

// atom is one required package, such as >=dev-libs/openssl-3:0/3=[static-libs] (PMS 8.3).
// USE flags are ignored: the packages of an index were built together.
type atom struct {
	op      string // one of < <= = ~ >= >, =* for a prefix, or empty
	name    string // category and name
	version string
	slot    string // empty for any
	text    string
}

func (a *atom) String() string { return a.text }

const maxDepth = 16

// parseDependencies parses a dependency string whose USE conditionals are already evaluated.
// Blockers are ignored: the packages of a release are installed together.
func parseDependencies(text string) ([]any, error) {
	words := strings.Fields(text)
	needs, rest, err := parseList(words, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("unmatched )")
	}
	return needs, err
}

// parseList reads up to the closing bracket or the end.
func parseList(words []string, depth int) (list []any, rest []string, err error) {
	if depth > maxDepth {
		return nil, nil, fmt.Errorf("brackets deeper than %d", maxDepth)
	}
	for len(words) > 0 {
		word := words[0]
		switch {
		case word == ")":
			return list, words, nil
		case word == "||" || word == "(":
			var group any
			if group, words, err = parseGroup(words, depth); err != nil {
				return nil, nil, err
			}
			list = append(list, group)
			continue
		case strings.HasSuffix(word, "?"):
			return nil, nil, fmt.Errorf("the condition %.80q; wanted dependencies with evaluated USE conditionals", word)
		case strings.HasPrefix(word, "!"):
		default:
			one, err := parseAtom(word)
			if err != nil {
				return nil, nil, err
			}
			list = append(list, one)
		}
		words = words[1:]
	}
	return list, nil, nil
}

// parseGroup reads "( … )" or "|| ( … )".
func parseGroup(words []string, depth int) (group any, rest []string, err error) {
	isChoice := words[0] == "||"
	if isChoice {
		words = words[1:]
	}
	if len(words) == 0 || words[0] != "(" {
		return nil, nil, fmt.Errorf("wanted a ( after ||")
	}
	inner, rest, err := parseList(words[1:], depth+1)
	if err != nil {
		return nil, nil, err
	}
	if len(rest) == 0 {
		return nil, nil, fmt.Errorf("unmatched (")
	}
	if isChoice {
		return anyOf(inner), rest[1:], nil
	}
	return allOf(inner), rest[1:], nil
}

var (
	atomPattern = regexp.MustCompile(`^(<=|>=|<|>|=|~)?([^:\[\]]+)(?::([^\[\]]+))?(?:\[[^\[\]]*\])?$`)
	cpnPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9+_.-]*/[A-Za-z0-9_][A-Za-z0-9+_-]*$`)
)

func parseAtom(text string) (*atom, error) {
	match := atomPattern.FindStringSubmatch(text)
	if match == nil {
		return nil, fmt.Errorf("%.80q is not a dependency; wanted one such as >=dev-libs/openssl-3:0", text)
	}
	a := &atom{op: match[1], name: match[2], text: text}
	a.slot, _, _ = strings.Cut(strings.TrimRight(match[3], "=*"), "/")
	if a.op != "" {
		versioned := a.name
		if a.op == "=" && strings.HasSuffix(versioned, "*") {
			a.op, versioned = "=*", strings.TrimSuffix(versioned, "*")
		}
		category, name, version, err := splitCPV(versioned)
		if err != nil {
			return nil, err
		}
		a.name, a.version = category+"/"+name, version
	}
	if !cpnPattern.MatchString(a.name) {
		return nil, fmt.Errorf("%.80q names no package; wanted CATEGORY/NAME", text)
	}
	return a, nil
}

// allows tells whether a package satisfies the atom.
func (a *atom) allows(p *Package) bool {
	if p.CPN() != a.name || a.slot != "" && a.slot != p.Slot {
		return false
	}
	order := CompareVersions(p.Version, a.version)
	switch a.op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case "=":
		return order == 0
	case "=*":
		rest, found := strings.CutPrefix(p.Version, a.version)
		return found && (rest == "" || strings.ContainsAny(rest[:1], "._-") || rest[0] >= 'a')
	case "~":
		x, _ := parseVersion(p.Version)
		y, _ := parseVersion(a.version)
		return compareUpstream(x, y) == 0
	case ">=":
		return order >= 0
	case ">":
		return order > 0
	}
	return true
}
