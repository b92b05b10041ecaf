// Package detect determines the platform of a machine from its markers, without a network.
//
// Input are the markers and the rules of each platform; output is a verdict, which also says when the markers are ambiguous.
// Nothing is guessed: platforms whose machines look alike are declared as such.
package detect

import (
	"maps"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Rule is one way to recognise a platform. A machine fits when it has everything that the rule names.
type Rule struct {
	Line           strictyaml.Line
	DMI            map[Field]Pattern `yaml:"dmi"`             // files of /sys/class/dmi/id by name
	Virt           Virt              `yaml:"virt"`            // what systemd-detect-virt prints
	KernelArgument Pattern           `yaml:"kernel_argument"` // a word of the kernel command line
	DiskLabel      Pattern           `yaml:"disk_label"`      // of any block device's file system
	Hypervisor     Hypervisor        `yaml:"hypervisor"`      // files of /sys/hypervisor
	Fallback       bool              `yaml:"fallback"`        // counts only when no other rule of any platform fits
}

// Hypervisor matches what Xen reports about itself.
type Hypervisor struct {
	Type Pattern `yaml:"type"`
	UUID Pattern `yaml:"uuid"`
}

// conditions are what a rule asks for, by attribute.
func (r Rule) conditions() map[string]Pattern {
	all := map[string]Pattern{
		"virt": Pattern(r.Virt), "kernel_argument": r.KernelArgument, "disk_label": r.DiskLabel,
		"hypervisor type": r.Hypervisor.Type, "hypervisor uuid": r.Hypervisor.UUID,
	}
	for field, pattern := range r.DMI {
		all[string(field)] = pattern
	}
	maps.DeleteFunc(all, func(_ string, p Pattern) bool { return p == "" })
	return all
}

// Empty tells whether a rule has no condition that a machine must have something for, so that every machine could fit.
func (r Rule) Empty() bool {
	asks := func(p Pattern) bool { _, negated := p.Negated(); return !negated }
	for _, p := range r.DMI { // even one that could not be read, which is said
		if asks(p) {
			return false
		}
	}
	return !slices.ContainsFunc(slices.Collect(maps.Values(r.conditions())), asks)
}

// Tier is how much a rule is worth. Rules of a tier count only when none of a better tier fits.
type Tier int

// The tiers, the best first.
const (
	Explicit Tier = iota // what the cloud's firmware, kernel command line or disks say
	Random               // the beginning of a number that is random elsewhere
	Fallback             // what others may have as well
)

// Tiers are all tiers, the best first.
var Tiers = []Tier{Explicit, Random, Fallback}

// Tier returns the tier of a rule.
func (r Rule) Tier() Tier {
	_, byUUID := r.DMI["product_uuid"]
	switch {
	case r.Fallback:
		return Fallback
	case byUUID || r.Hypervisor.UUID != "":
		return Random
	}
	return Explicit
}

func (r Rule) fits(m Machine) bool {
	for field, pattern := range r.DMI {
		if !pattern.Match(m.DMI[field]) {
			return false
		}
	}
	return !r.Empty() &&
		(r.Virt == "" || r.Virt == m.Virt) &&
		r.KernelArgument.any(m.KernelArguments) &&
		r.DiskLabel.any(m.DiskLabels) &&
		r.Hypervisor.Type.any([]string{m.Hypervisor.Type}) &&
		r.Hypervisor.UUID.any([]string{m.Hypervisor.UUID})
}

// Candidate is what detection needs to know about a platform.
type Candidate struct {
	ID            string
	Rules         []Rule   // one must fit
	Before        []string // platforms that this one takes precedence over when both fit
	AmbiguousWith []string // platforms that some of its machines cannot be told from
}

func (c Candidate) fits(m Machine, tier Tier) bool { return c.rule(m, tier) >= 0 }

// rule returns the index of the first rule of a tier that fits, or -1.
func (c Candidate) rule(m Machine, tier Tier) int {
	return slices.IndexFunc(c.Rules, func(r Rule) bool { return r.Tier() == tier && r.fits(m) })
}

// Verdict is which platform a machine runs on.
type Verdict struct {
	ID    string   // empty when no platform fits, or several without precedence
	Maybe []string // other possible platforms, by name; only an explicit choice decides
}

// Judge matches a machine against all platforms. The order of candidates does not matter.
func Judge(m Machine, candidates []Candidate) Verdict {
	won := winners(fitting(m, candidates))
	var alike []string
	for _, c := range candidates {
		likeWinner := slices.ContainsFunc(c.AmbiguousWith, func(id string) bool { return slices.Contains(won, id) })
		if likeWinner && !slices.Contains(won, c.ID) {
			alike = append(alike, c.ID)
		}
	}
	if len(won) == 1 {
		return Verdict{ID: won[0], Maybe: slices.Sorted(slices.Values(alike))}
	}
	return Verdict{Maybe: slices.Sorted(slices.Values(append(won, alike...)))}
}

// winners returns the ids of the candidates that no other one takes precedence over.
func winners(fitting []Candidate) []string {
	var ids []string
	for _, c := range fitting {
		if !slices.ContainsFunc(fitting, func(o Candidate) bool { return slices.Contains(o.Before, c.ID) }) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// fitting returns the platforms with a rule of the best tier that any fits.
func fitting(m Machine, candidates []Candidate) []Candidate {
	for _, tier := range Tiers {
		var found []Candidate
		for _, c := range candidates {
			if c.fits(m, tier) {
				found = append(found, c)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}
