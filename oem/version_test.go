package oem

import (
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/source/input"
)

// The version of a platform's tools is that of the tool, not of a library of its, and not of what is only needed by it.
func TestVersionOfTools(t *testing.T) {
	named := func(names ...string) (texts []strictyaml.Text) {
		for _, name := range names {
			texts = append(texts, strictyaml.Text{Value: name})
		}
		return texts
	}
	one := func(name string, sources []recipe.Source, needs ...string) *recipe.Recipe {
		return &recipe.Recipe{Name: strictyaml.Text{Value: name}, Sources: sources, Needs: named(needs...)}
	}
	deb := []recipe.Source{{Deb: &recipe.Deb{Packages: named("waagent")}}}
	setup, agent, clock, pool := one("oem-setup", nil), one("agent", deb, "oem-setup"), one("clock", []recipe.Source{{Go: &recipe.Go{}}}), one("clock-pool", nil, "clock")
	made := map[*recipe.Recipe][]input.Input{
		setup: {{Kind: "file", Name: "setup/files/setup"}},
		agent: {{Kind: "deb", Name: "libssl3", Version: "3.5"}, {Kind: "deb", Name: "waagent", Version: "2.12-1"}},
		clock: {{Kind: "go", Name: "example.org/clock", Version: "v4.8"}},
		pool:  {{Kind: "file", Name: "pool/files/servers"}},
	}
	for want, p := range map[string]*platform.Platform{
		"2.12-1": {RecipeNames: named("agent", "clock"), Recipes: []*recipe.Recipe{setup, agent, clock}},
		"v4.8":   {Extras: &platform.Extras{RecipeNames: named("clock-pool")}, Recipes: []*recipe.Recipe{clock, pool}},
		"":       {RecipeNames: named("oem-setup"), Recipes: []*recipe.Recipe{setup}},
	} {
		s := Staged{Platform: p}
		for _, r := range p.Recipes {
			s.Recipes = append(s.Recipes, Made{Recipe: r, Inputs: made[r]})
		}
		if got := s.Version(); got != want {
			t.Errorf("version is %q; wanted %q", got, want)
		}
	}
}
