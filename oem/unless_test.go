package oem

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// A recipe is left out only when the base has all that it names, also through a directory that is a link.
func TestToolsOfTheBase(t *testing.T) {
	base := &target.Base{Usr: tree.Sorted([]tree.Entry{
		{Path: "/usr", Type: tree.Dir}, {Path: "/usr/bin", Type: tree.Dir}, {Path: "/usr/bin/nvme", Type: tree.File},
		{Path: "/usr/sbin", Type: tree.Symlink, Target: "bin"},
	})}
	f := &Factory{Base: base, Builder: &build.Builder{Log: slog.New(slog.DiscardHandler)}}
	has := &recipe.Recipe{Unless: []recipe.Path{"/usr/sbin/nvme"}}
	hasSome := &recipe.Recipe{Unless: []recipe.Path{"/usr/sbin/nvme", "/usr/bin/other"}}
	always := &recipe.Recipe{}
	got := f.lacking([]*recipe.Recipe{has, hasSome, always})
	if diff := cmp.Diff([]*recipe.Recipe{hasSome, always}, got); diff != "" {
		t.Error(diff)
	}
}

// A recipe without a source for the base is refused before anything is built, with the platforms that it costs.
func TestNoSourceForTheBase(t *testing.T) {
	base := &target.Base{} // not of Debian's packages
	f := &Factory{Base: base, Builder: &build.Builder{Log: slog.New(slog.DiscardHandler), Base: base}}
	debians := &recipe.Recipe{File: "recipes/agent/recipe.yaml", Sources: []recipe.Source{{For: recipe.Debian, Deb: &recipe.Deb{}}}}
	both := &recipe.Recipe{Sources: append([]recipe.Source{{For: recipe.Flatcar, Binpkg: &recipe.Binpkg{}}}, debians.Sources...)}
	var platforms []*platform.Platform
	for _, id := range []string{"azure", "gce", "qemu"} {
		platforms = append(platforms, &platform.Platform{ID: strictyaml.Text{Value: id}, Recipes: []*recipe.Recipe{debians, both}})
	}
	platforms[2].Recipes = []*recipe.Recipe{both}
	_, err := f.Stage(t.Context(), platforms)
	const want = "recipes/agent/recipe.yaml: no source is for a base of the family flatcar; add one with for: flatcar, or leave out azure, gce"
	if err == nil || err.Error() != want {
		t.Errorf("error is %v", err)
	}
}
