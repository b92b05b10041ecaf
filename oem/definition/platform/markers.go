package platform

import (
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// checkMarkers reports rules of two platforms that one machine can fit, unless one of the two is detected before the other.
func checkMarkers(all []*Platform) (mistakes strictyaml.Mistakes) {
	for i, p := range all {
		for _, other := range all[:i] {
			if !ordered(p, other) {
				mistakes = append(mistakes, overlaps(p, other)...)
			}
		}
	}
	return append(mistakes, takesKnown(all)...)
}

func ordered(p, other *Platform) bool {
	return slices.Contains(values(p.DetectBefore), other.ID.Value) || slices.Contains(values(other.DetectBefore), p.ID.Value)
}

// overlaps reports the first rule of a platform that looks at the same markers as one of another platform.
func overlaps(p, other *Platform) strictyaml.Mistakes {
	c := checker{platform: p}
	for _, rule := range p.Detect {
		for _, theirs := range other.Detect {
			if detect.Overlap(rule, theirs) {
				c.add(rule.Line, "detect: a machine that fits this can fit a rule of %s as well (%s:%d); narrow it, or add detect_before: [%s] here or detect_before: [%s] there",
					other.ID, other.File, theirs.Line, other.ID, p.ID)
				return c.mistakes
			}
		}
	}
	return nil
}

// takesKnown reports rules that fit a known machine of another platform, and that no order puts behind it. Each pair is reported once.
func takesKnown(all []*Platform) (mistakes strictyaml.Mistakes) {
	machines, err := detect.Machines()
	if err != nil {
		return strictyaml.Mistakes{{File: "oem/definition/detect/machines.yaml", Line: 1, Text: err.Error()}}
	}
	candidates := make([]detect.Candidate, len(all))
	for i, p := range all {
		candidates[i] = p.Candidate()
	}
	said := map[[2]string]bool{}
	for _, known := range machines {
		if known.Is == "" || find(all, known.Is) == nil {
			continue
		}
		for _, taker := range detect.Takers(known.Machine(), known.Is, candidates) {
			pair := [2]string{taker.ID, known.Is}
			if p := find(all, taker.ID); !said[pair] && !ordered(p, find(all, known.Is)) {
				said[pair] = true
				c := checker{platform: p}
				c.add(taker.Rule.Line, "detect: this fits a machine of %s (%v); narrow it, or add detect_before: [%s] to %s", known.Is, known, taker.ID, find(all, known.Is).File)
				mistakes = append(mistakes, c.mistakes...)
			}
		}
	}
	return mistakes
}
