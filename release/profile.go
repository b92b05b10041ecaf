package release

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/fit"
	"github.com/flatcar/oem-sysext/oem/recipe"
	"github.com/flatcar/oem-sysext/oem/strictyaml"
)

const budgetsFile = "release/budgets.yaml"

//go:embed budgets.yaml
var budgetsYAML []byte

// budgets is what release/budgets.yaml holds.
type budgets struct {
	Layouts  map[string]layout          `yaml:"layouts,required"`
	Bases    map[string]strictyaml.Text `yaml:"bases,required"`
	Profiles map[string]profile         `yaml:"profiles,required"`
}

// layout is the room on a kind of machine.
type layout struct {
	Filesystem   recipe.Limit `yaml:"filesystem,required"`
	Payload      recipe.Limit `yaml:"payload,required"`
	OEMPartition recipe.Limit `yaml:"oem_partition,required"`
	Boot         recipe.Limit `yaml:"boot,required"` // kernel and initramfs
}

// profile is what a release makes of the room.
type profile struct {
	Line      strictyaml.Line
	Layout    string               `yaml:"layout"` // instead of the base's
	Headroom  recipe.Limit         `yaml:"headroom,required"`
	Images    recipe.Limit         `yaml:"images,required"`
	MaxImages imageCount           `yaml:"max_images,required"`
	Placement map[string]placement `yaml:"placement"` // by platform
}

// imageCount is a number from 1 to 128.
type imageCount int

// UnmarshalText refuses other numbers.
func (c *imageCount) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > 128 {
		return fmt.Errorf("%q; wanted a number of images from 1 to 128", text)
	}
	*c = imageCount(n)
	return nil
}

// placement is where a platform's tools may go, first choice first.
type placement []fit.Placement

// UnmarshalText reads one place, or several with commas between them.
func (p *placement) UnmarshalText(text []byte) error {
	known := []fit.Placement{fit.InUsr, fit.OnOEM, fit.InBothPlaces}
	for name := range strings.SplitSeq(string(text), ",") {
		place := fit.Placement(strings.TrimSpace(name))
		if !slices.Contains(known, place) || slices.Contains(*p, place) {
			return fmt.Errorf("%q; wanted usr, oem-partition or both, or several of them, such as \"usr, oem-partition\"", text)
		}
		*p = append(*p, place)
	}
	return nil
}

// loadProfile returns the named profile and the layout that it fits a base to. Platforms are the ids that there are.
func loadProfile(content []byte, name, baseID string, platforms []string) (profile, layout, error) {
	var all budgets
	if err := strictyaml.Decode(budgetsFile, content, &all).Err(); err != nil {
		return profile{}, layout{}, err
	}
	chosen, known := all.Profiles[name]
	if !known {
		return profile{}, layout{}, fmt.Errorf("no profile %q in %s; there is %s", name, budgetsFile, names(all.Profiles))
	}
	for id := range chosen.Placement {
		if !slices.Contains(platforms, id) {
			return profile{}, layout{}, fmt.Errorf("%s:%d: placement of %q, which is no platform", budgetsFile, chosen.Line, id)
		}
	}
	layoutName := orElse(chosen.Layout, all.Bases[baseID].Value)
	room, known := all.Layouts[layoutName]
	if !known {
		return profile{}, layout{}, fmt.Errorf("%s: no layout %q for base %s in profile %s; there is %s",
			budgetsFile, layoutName, baseID, name, names(all.Layouts))
	}
	return chosen, room, nil
}

func names[T any](m map[string]T) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }

// places returns where a platform's tools may go.
func (p profile) places(id string) placement {
	if chosen := p.Placement[id]; len(chosen) > 0 {
		return chosen
	}
	return placement{fit.InUsr}
}
