package show

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/care"
)

func TestTry(t *testing.T) {
	r := &recipe.Recipe{Name: strictyaml.Text{Value: "agent"}, Summary: "An agent", MaxSize: recipe.Limit{Bytes: size.MiB}}
	r.Units.Upholds = map[string][]string{"multi-user.target": {"agent.service"}}
	made := oem.Made{Recipe: r, Inputs: []input.Input{{Name: "agent", Version: "1.2"}, {Name: "files/x"}}, Tree: tree.Tree{
		{Path: "/usr", Type: tree.Dir}, {Path: "/usr/bin", Type: tree.Dir}, {Path: "/usr/bin/agent", Type: tree.File, Size: 2048}, {Path: "/usr/lib/x", Type: tree.File},
	}}
	tried := &oem.Tried{Recipe: r, Packed: 1024, Own: &made, Ran: true, Works: []platform.Work{{Command: recipe.Command{Run: "agent -v"}}, {Command: recipe.Command{Run: recipe.Shell(strings.Repeat("x", 70))}}}}
	tried.Image.Size, tried.Image.Recipes = 4096, []oem.Made{made}
	trial := &care.Trial{Tried: tried, Base: "trixie 1.0.0 amd64", Platforms: []string{"a", "b", "c", "d", "e", "f", "g", "h"}}
	want := `agent       An agent
base        trixie 1.0.0 amd64
size        1.0 KiB of at most 1.0 MiB packed, 2.0 KiB in 2 files
with needs  4.0 KiB packed: agent
from        agent 1.2
programs    agent
starts      agent.service by multi-user.target
rights      -
works       agent -v, ` + strings.Repeat("x", 60) + `…
platforms   a, b, c, d, e, f and 2 more
`
	said := func() string {
		var out strings.Builder
		if err := Try(&out, trial); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if diff := cmp.Diff(want, said()); diff != "" {
		t.Error(diff)
	}
	for part, change := range map[string]func(){
		"2 commands were not run": func() { tried.Ran = false },
		"nothing was run; add":    func() { tried.Works = nil },
		"adds nothing on trixie":  func() { tried.Own = nil },
	} {
		before := *tried
		change()
		if got := said(); !strings.Contains(got, part) {
			t.Errorf("no %q in %s", part, got)
		}
		*tried = before
	}
}
