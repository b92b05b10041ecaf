package parity

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition"
)

// Every platform of the catalogue has what Flatcar's image for it has, or says why not, and nothing else unless it is asked for.
func TestCatalogue(t *testing.T) {
	platforms, err := definition.Platforms(os.DirFS("../../.."))
	if err != nil {
		t.Fatal(err)
	}
	l := read(t)
	var ids []string
	for _, p := range platforms {
		ids = append(ids, p.ID.Value)
		for _, row := range l.Compare(p) {
			if row.Kind == Open {
				t.Errorf("%s: %s: %s", p.File, row.Tool, row.Why)
			}
		}
	}
	for _, image := range l.Images {
		if !slices.Contains(ids, image.ID) {
			t.Errorf("Flatcar has an image for %s, and there is no platform", image.ID)
		}
	}
}

// The list names recipes that there are, and each package once.
func TestListIsSound(t *testing.T) {
	_, recipes, err := definition.All(os.DirFS("../../.."))
	if err != nil {
		t.Fatal(err)
	}
	l := read(t)
	known := map[string]bool{}
	for _, p := range l.Packages {
		if known[p.Name] {
			t.Errorf("%s is there twice", p.Name)
		}
		known[p.Name] = true
		if p.Recipe != "" && recipes[p.Recipe] == nil {
			t.Errorf("%s: no recipe %s", p.Name, p.Recipe)
		}
	}
	for _, image := range l.Images {
		for _, name := range image.Packages {
			if !known[name] {
				t.Errorf("%s needs %s, which is not in packages", image.ID, name)
			}
		}
	}
}

func read(t *testing.T) *List {
	t.Helper()
	l, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCompare(t *testing.T) {
	const head = "summary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64]\nmax_size: 1 KiB\n"
	platforms, err := definition.Platforms(fstest.MapFS{
		"recipes/clock/recipe.yaml":      {Data: []byte("name: clock\n" + head)},
		"recipes/clock-pool/recipe.yaml": {Data: []byte("name: clock-pool\nneeds: [clock]\n" + head)},
		"recipes/setup/recipe.yaml":      {Data: []byte("name: setup\n" + head)},
		"recipes/agent/recipe.yaml":      {Data: []byte("name: agent\nneeds: [setup]\n" + head)},
		"recipes/disk/recipe.yaml":       {Data: []byte("name: disk\n" + head)},
		"platforms/some.yaml": {Data: []byte(strings.Join([]string{
			"id: some", "name: Some", "kernel_id: some", "arches: [amd64]", "recipes: [clock-pool, agent]", "extras: {recipes: [disk]}",
			"detect: [{dmi: {sys_vendor: Some}}]", "missing: {helper: nobody has it}", "",
		}, "\n"))},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := List{
		Packages: []Package{
			{Name: "net-misc/clock", Version: "2", Recipe: "clock"}, {Name: "app/helper", Version: "1"}, {Name: "app/other", Version: "3", Recipe: "disk"},
		},
		Images: []Image{{ID: "some", Arches: read(t).Images[0].Arches, Packages: []string{"net-misc/clock", "app/helper", "app/other"}, Own: []string{"start.sh"}}},
	}
	want := []Row{
		{Platform: "some", Tool: "arm64", Kind: Open, Why: "no recipe, and no reason in missing:"},
		{Platform: "some", Tool: "clock", Flatcar: "2", Recipe: "clock", Kind: Equal},
		{Platform: "some", Tool: "helper", Flatcar: "1", Kind: Lacking, Why: "nobody has it"},
		{Platform: "some", Tool: "other", Flatcar: "3", Kind: Open, Why: "no recipe, and no reason in missing:"},
		{Platform: "some", Tool: "start.sh", Kind: Open, Why: "no recipe, and no reason in missing:"},
		{Platform: "some", Tool: "agent", Recipe: "agent", Kind: Open, Why: "Flatcar's image has it not; move it to extras:"},
		{Platform: "some", Tool: "disk", Recipe: "disk", Kind: Extra},
	}
	if diff := cmp.Diff(want, l.Compare(platforms[0])); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	l.Images[0].ID = "other"
	if got := l.Compare(platforms[0]); len(got) != 1 || got[0].Kind != Extra {
		t.Errorf("a platform that Flatcar has not gives %v", got)
	}
}
