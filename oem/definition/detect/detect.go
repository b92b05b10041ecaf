// Package detect determines the platform of a machine from its markers, without a network.
//
// Input are the markers and the rules of each platform; output is a verdict, which also says when the markers are ambiguous.
// Nothing is guessed: platforms whose machines look alike are declared as such.
package detect

import (
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

// Empty tells whether a rule has no conditions, so that every machine would fit.
func (r Rule) Empty() bool {
	return len(r.DMI) == 0 && r.Virt == "" && r.KernelArgument == "" && r.DiskLabel == "" && r.Hypervisor == Hypervisor{}
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

func (c Candidate) fits(m Machine, fallback bool) bool {
	return slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Fallback == fallback && r.fits(m) })
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

// fitting returns the platforms with a rule that fits, or if there are none, those with a fallback rule that fits.
func fitting(m Machine, candidates []Candidate) []Candidate {
	for _, fallback := range []bool{false, true} {
		var found []Candidate
		for _, c := range candidates {
			if c.fits(m, fallback) {
				found = append(found, c)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}
