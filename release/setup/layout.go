package release

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/release/profiles"
)

const layoutsFile = "release/layouts.yaml"

//go:embed layouts.yaml
var layoutsYAML []byte

// layouts is what release/layouts.yaml holds.
type layouts struct {
	Layouts map[string]layout          `yaml:"layouts,required"`
	Bases   map[string]strictyaml.Text `yaml:"bases,required"`
}

// layout is the room on a kind of machine.
type layout struct {
	Filesystem   recipe.Limit `yaml:"filesystem,required"`
	Payload      recipe.Limit `yaml:"payload,required"`
	OEMPartition recipe.Limit `yaml:"oem_partition,required"`
	Boot         recipe.Limit `yaml:"boot,required"`         // kernel and initramfs
	NetworkBoot  recipe.Limit `yaml:"network_boot,required"` // memory of a machine that has no disk
}

// layoutFor returns the layout that a profile names, or the one of the base.
func layoutFor(content []byte, p *profiles.Profile, baseID string) (layout, error) {
	var all layouts
	if err := strictyaml.Decode(layoutsFile, content, &all).Err(); err != nil {
		return layout{}, err
	}
	name, where := all.Bases[baseID].Value, "base "+baseID
	if p.Layout.Value != "" {
		name, where = p.Layout.Value, fmt.Sprintf("%s:%d", p.File, p.Layout.Line)
	}
	room, known := all.Layouts[name]
	if !known {
		return layout{}, fmt.Errorf("%s: no layout %q for %s; there is %s", layoutsFile, name, where, names(all.Layouts))
	}
	return room, nil
}

func names[T any](m map[string]T) string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }

// loadProfile reads the profile that was asked for. What it says of base and platforms holds where nothing else was asked for.
func (w *workshop) loadProfile() (err error) {
	name := orElse(w.Profile, profiles.Default)
	if w.profile, err = profiles.Load(w.Checkout, name, profiles.Known{Platforms: platformIDs(w.catalogue), Recipes: slices.Sorted(maps.Keys(w.recipes))}); err != nil {
		return err
	}
	w.BaseID = orElse(w.BaseID, orElse(w.profile.Base, DefaultBase))
	if len(w.Platforms) == 0 {
		w.Platforms = w.profile.PlatformIDs()
	}
	return nil
}
