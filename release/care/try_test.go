package care

import (
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// A recipe is one of a platform's also where only its extras have it.
func TestUsersOfARecipe(t *testing.T) {
	agent, clock := &recipe.Recipe{}, &recipe.Recipe{}
	platforms := []*platform.Platform{
		{ID: strictyaml.Text{Value: "a"}, Recipes: []*recipe.Recipe{agent}},
		{ID: strictyaml.Text{Value: "b"}, Extras: &platform.Extras{Recipes: []*recipe.Recipe{agent, clock}}},
		{ID: strictyaml.Text{Value: "c"}},
	}
	if got := users(platforms, agent); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("users are %v; wanted a and b", got)
	}
}
