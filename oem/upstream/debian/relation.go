package debian

import (
	"fmt"
	"strings"
)

// relation is one alternative of a dependency, such as libc6:amd64 (>= 2.34) (deb-control(5), Depends).
type relation struct {
	name    string
	arch    string // "any", "native", an architecture, or empty
	op      string // one of << <= = >= >>, or empty for any version
	version string
}

// group is a dependency: any one of its alternatives satisfies it.
type group []relation

func (r relation) String() string {
	text := r.name
	if r.arch != "" {
		text += ":" + r.arch
	}
	if r.op != "" {
		text += " (" + r.op + " " + r.version + ")"
	}
	return text
}

func (g group) String() string {
	alternatives := make([]string, len(g))
	for i, r := range g {
		alternatives[i] = r.String()
	}
	return strings.Join(alternatives, " | ")
}

// parseGroups reads the value of Depends, Pre-Depends or Provides.
func parseGroups(text string) ([]group, error) {
	var groups []group
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue // dpkg accepts a comma at the end
		}
		var alternatives group
		for alternative := range strings.SplitSeq(part, "|") {
			parsed, err := parseRelation(alternative)
			if err != nil {
				return nil, err
			}
			alternatives = append(alternatives, parsed)
		}
		groups = append(groups, alternatives)
	}
	return groups, nil
}

// parseRelation reads "name[:arch] [(op version)] [[arch ...]]". The list of architectures, which only
// source packages have, is ignored.
func parseRelation(text string) (relation, error) {
	malformed := func(what string) (relation, error) {
		return relation{}, fmt.Errorf("dependency %.80q: %s", strings.TrimSpace(text), what)
	}
	rest := strings.TrimSpace(text)
	name, rest := cutAtAny(rest, " \t\n([<")
	var r relation
	r.name, r.arch, _ = strings.Cut(name, ":")
	if !ValidName(r.name) {
		return malformed("wanted a package name first")
	}
	if inner, after, found := cutBracket(rest, "(", ")"); found {
		rest = after
		if r.op, r.version = splitOperator(inner); r.op == "" || r.version == "" || strings.ContainsAny(r.version, " \t\n()") {
			return malformed("wanted (<<, <=, =, >= or >> and a version)")
		}
	}
	if _, after, found := cutBracket(rest, "[", "]"); found {
		rest = after
	}
	if strings.TrimSpace(rest) != "" {
		return malformed("has more than a name, a version and architectures")
	}
	return r, nil
}

// cutAtAny splits before the first of the given bytes.
func cutAtAny(text, chars string) (before, after string) {
	if i := strings.IndexAny(text, chars); i >= 0 {
		return text[:i], text[i:]
	}
	return text, ""
}

// cutBracket splits off a leading bracketed part.
func cutBracket(text, open, closing string) (inner, after string, found bool) {
	trimmed, opened := strings.CutPrefix(strings.TrimSpace(text), open)
	inner, after, closed := strings.Cut(trimmed, closing)
	if !opened || !closed {
		return "", text, false
	}
	return inner, after, true
}

// splitOperator reads the operator of a version restriction. A lone < or > is the old spelling of <= and >=.
func splitOperator(text string) (op, version string) {
	text = strings.TrimSpace(text)
	version = strings.TrimLeft(text, "<=>")
	switch op = text[:len(text)-len(version)]; op {
	case "<", ">":
		op += "="
	case "<<", "<=", "=", ">=", ">>":
	default:
		op = ""
	}
	return op, strings.TrimSpace(version)
}

// ValidName tells whether text may be a package name. Debian policy 5.6.1 wants lower case and at least two characters;
// dpkg accepts more, and so do we, except for paths.
func ValidName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		return !letter && !isDigit(r) && !strings.ContainsRune("+-._", r)
	})
}

// allows tells whether a version satisfies the relation.
func (r relation) allows(version string) bool {
	if r.op == "" {
		return true
	}
	order := CompareVersions(version, r.version)
	switch r.op {
	case "<<":
		return order < 0
	case "<=":
		return order <= 0
	case "=":
		return order == 0
	case ">=":
		return order >= 0
	default: // >>
		return order > 0
	}
}

// allowsProvided tells whether a provided name satisfies the relation.
// An unversioned one satisfies only unversioned relations (deb-control(5), Provides).
func (r relation) allowsProvided(version string) bool {
	return r.op == "" || version != "" && r.allows(version)
}

// allowsArch tells whether a package of this architecture can satisfy the relation on a system of the architecture native.
func (r relation) allowsArch(arch, native string) bool {
	switch r.arch {
	case "", "any", "native":
		return arch == native || arch == "all"
	}
	return arch == r.arch
}
