package oem

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
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
