package profiles

import (
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Origin is where a platform's tools come from.
type Origin string

// The origins.
const (
	FromRecipes Origin = "recipes"
	Upstream    Origin = "upstream" // the image that Flatcar publishes with the base, byte for byte
	Repacked    Origin = "repacked" // its files, shared and packed as the plan says
)

var origins = []Origin{FromRecipes, Upstream, Repacked}

// UnmarshalText reads one origin.
func (o *Origin) UnmarshalText(text []byte) error {
	if !slices.Contains(origins, Origin(text)) {
		return fmt.Errorf("%q; wanted one of recipes, upstream, repacked", text)
	}
	*o = Origin(text)
	return nil
}

// OEM says where tools come from: one origin for all platforms, or lists of those whose tools do not come from recipes.
type OEM struct {
	All      Origin
	Upstream []strictyaml.Text `yaml:"upstream"` // ids of platforms
	Repacked []strictyaml.Text `yaml:"repacked"` // ids of platforms
}

// UnmarshalText reads the origin for all platforms.
func (o *OEM) UnmarshalText(text []byte) error { return o.All.UnmarshalText(text) }

// JSONSchema describes both forms.
func (OEM) JSONSchema() map[string]any {
	ids := map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
	return map[string]any{
		"type": []string{"string", "object"}, "pattern": "^(recipes|upstream|repacked)$",
		"properties":           map[string]any{"upstream": ids, "repacked": ids},
		"additionalProperties": false,
	}
}

// Origin returns where a platform's tools come from.
func (o OEM) Origin(platform string) Origin {
	lists := func(ids []strictyaml.Text) bool {
		return slices.ContainsFunc(ids, func(id strictyaml.Text) bool { return id.Value == platform })
	}
	switch {
	case lists(o.Upstream):
		return Upstream
	case lists(o.Repacked):
		return Repacked
	case o.All != "":
		return o.All
	}
	return FromRecipes
}

func (c *checker) oem() {
	for _, id := range slices.Concat(c.profile.OEM.Upstream, c.profile.OEM.Repacked) {
		c.platform(id, "oem")
	}
	for _, id := range c.profile.OEM.Upstream {
		if slices.ContainsFunc(c.profile.OEM.Repacked, func(other strictyaml.Text) bool { return other.Value == id.Value }) {
			c.add(id.Line, "oem: %s is in upstream and in repacked; wanted in one of them", id)
		}
	}
}
