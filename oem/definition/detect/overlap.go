package detect

import (
	"slices"
	"strings"
)

// Overlap tells whether two rules of one tier look at the same marker of a machine, and one machine can fit both.
func Overlap(a, b Rule) bool {
	if a.Tier() != b.Tier() {
		return false
	}
	shared := false
	others := b.conditions()
	for attribute, p := range a.conditions() {
		q, has := others[attribute]
		_, negated := p.Negated()
		_, negatedToo := q.Negated()
		if !has || negated || negatedToo {
			continue
		}
		if !meet([]rune(strings.ToLower(string(p))), []rune(strings.ToLower(string(q)))) {
			return false
		}
		shared = true
	}
	return shared
}

// meet tells whether some text matches both of two patterns.
func meet(a, b []rune) bool {
	switch {
	case len(a) == 0 && len(b) == 0:
		return true
	case len(a) > 0 && a[0] == '*':
		return meet(a[1:], b) || len(b) > 0 && meet(a, b[1:])
	case len(b) > 0 && b[0] == '*':
		return meet(b, a)
	case len(a) == 0 || len(b) == 0:
		return false
	}
	return (a[0] == b[0] || a[0] == '?' || b[0] == '?') && meet(a[1:], b[1:])
}

// Taker is a candidate whose rule takes a machine of another platform.
type Taker struct {
	ID   string
	Rule Rule
}

// Takers returns the candidates that would have a machine of the platform id: those with a rule that fits and that no order puts behind.
func Takers(m Machine, id string, candidates []Candidate) []Taker {
	found := fitting(m, candidates)
	won := winners(found)
	var takers []Taker
	for _, c := range found {
		if c.ID == id || !slices.Contains(won, c.ID) {
			continue
		}
		for _, tier := range Tiers {
			if at := c.rule(m, tier); at >= 0 {
				takers = append(takers, Taker{c.ID, c.Rules[at]})
				break
			}
		}
	}
	return takers
}
