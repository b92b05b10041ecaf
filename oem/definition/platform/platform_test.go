package platform

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// load reads platforms given as id, further lines, id, further lines …
func load(definitions ...string) ([]*Platform, error) {
	fsys := fstest.MapFS{}
	for i := 0; i < len(definitions); i += 2 {
		text := fmt.Sprintf("id: %s\nname: N\narches: [amd64, arm64]\nrecipes: []\n%s", definitions[i], definitions[i+1])
		fsys["platforms/"+definitions[i]+".yaml"] = &fstest.MapFile{Data: []byte(text)}
	}
	platforms, mistakes := Load(fsys, "platforms", recipe.Set{})
	return platforms, mistakes.Err()
}

func TestLoad(t *testing.T) {
	platforms, err := load("a", `kernel_id: a
detect:
  - dmi: {sys_vendor: "A, Inc."}
    virt: kvm
  - {disk_label: a-*, fallback: true}
detect_before: [b]
kernel_arguments: {all: [x], amd64: [y, z]}
missing: {agent: not to be had}
`, "b", "kernel_id: b\nambiguous_with: [a]\n")
	if err != nil {
		t.Fatal(err)
	}
	c := platforms[0].Candidate()
	if len(c.Rules) != 2 || c.Rules[0].DMI["sys_vendor"] != "A, Inc." || c.Rules[0].Virt != "kvm" || !c.Rules[1].Fallback {
		t.Errorf("rules are %v", c.Rules)
	}
	if c.ID != "a" || !cmp.Equal(c.Before, []string{"b"}) || !cmp.Equal(platforms[1].Candidate().AmbiguousWith, []string{"a"}) {
		t.Errorf("candidate is %+v", c)
	}
	for a, want := range map[arch.Arch][]string{arch.AMD64: {"x", "y", "z"}, arch.ARM64: {"x"}} {
		if diff := cmp.Diff(want, platforms[0].KernelArguments.For(a)); diff != "" {
			t.Errorf("%s: %s", a, diff)
		}
	}
}

// TestModules says that a platform's image for an initramfs has the modules of its recipes, and then its own.
func TestModules(t *testing.T) {
	text := func(names ...string) (all []strictyaml.Text) {
		for _, name := range names {
			all = append(all, strictyaml.Text{Value: name})
		}
		return all
	}
	i := Initrd{Modules: text("own", "b"), Recipes: []*recipe.Recipe{{Modules: text("b", "a")}, {}, {Modules: text("a", "c")}}}
	if diff := cmp.Diff([]string{"b", "a", "c", "own"}, i.AllModules()); diff != "" {
		t.Error(diff)
	}
}

// TestForInitrd says what a platform is in an initramfs: all of it, or recipes of its own, and no unit must be there.
func TestForInitrd(t *testing.T) {
	recipes := recipe.Set{}
	for _, name := range []string{"agent", "early"} {
		recipes[name] = &recipe.Recipe{Name: strictyaml.Text{Value: name}, Arches: []arch.Arch{arch.AMD64}}
	}
	for initrd, want := range map[string]string{"": "", "initrd: {}": "agent", "initrd: {recipes: [early]}": "early"} {
		text := "id: a\nname: N\nkernel_id: a\narches: [amd64]\nrecipes: [agent]\nactive_units: [agent.service]\ndetect: [{virt: kvm}]\n" + initrd
		platforms, mistakes := Load(fstest.MapFS{"platforms/a.yaml": &fstest.MapFile{Data: []byte(text)}}, "platforms", recipes)
		if err := mistakes.Err(); err != nil {
			t.Fatal(err)
		}
		p, q := platforms[0], platforms[0].ForInitrd()
		if want == "" && q == nil {
			continue
		}
		if len(q.Recipes) != 1 || q.Recipes[0].Name.Value != want || len(q.ActiveUnits) != 0 {
			t.Errorf("%q: %+v", initrd, q)
		}
		if p.Recipes[0].Name.Value != "agent" || len(p.ActiveUnits) != 1 {
			t.Errorf("%q changes the platform to %+v", initrd, p)
		}
	}
}

func TestExtras(t *testing.T) {
	const recipeHead = "summary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64]\nmax_size: 1 KiB\n"
	files := fstest.MapFS{}
	for _, name := range []string{"agent", "clock", "setup"} {
		needs := ""
		if name == "clock" {
			needs = "needs: [setup]\n"
		}
		files["recipes/"+name+"/recipe.yaml"] = &fstest.MapFile{Data: []byte("name: " + name + "\n" + recipeHead + needs)}
	}
	recipes, mistakes := recipe.Load(files, "recipes")
	if err := mistakes.Err(); err != nil {
		t.Fatal(err)
	}
	one := func(rest string) (*Platform, error) {
		text := "id: a\nname: N\nkernel_id: a\narches: [amd64]\nrecipes: [agent]\nactive_units: [agent.service]\ndetect: [{virt: kvm}]\n" + rest
		platforms, mistakes := Load(fstest.MapFS{"platforms/a.yaml": &fstest.MapFile{Data: []byte(text)}}, "platforms", recipes)
		return platforms[0], mistakes.Err()
	}
	names := func(of []*recipe.Recipe) (all []string) {
		for _, r := range of {
			all = append(all, r.Name.Value)
		}
		return all
	}
	p, err := one("extras: {recipes: [clock], active_units: [clock.service]}\ninitrd: {}\n")
	if err != nil {
		t.Fatal(err)
	}
	with := p.WithExtras()
	if got := names(with.Recipes); !slices.Equal(got, []string{"agent", "setup", "clock"}) || !slices.Equal(names(with.Initrd.Recipes), got) {
		t.Errorf("with extras it has %v, and for an initramfs %v", got, names(with.Initrd.Recipes))
	}
	if got := values(with.ActiveUnits); !slices.Equal(got, []string{"agent.service", "clock.service"}) {
		t.Errorf("with extras it needs %v", got)
	}
	if !slices.Equal(names(p.Recipes), []string{"agent"}) || len(p.ActiveUnits) != 1 || !slices.Equal(names(p.Initrd.Recipes), []string{"agent"}) {
		t.Errorf("the platform itself has changed: %+v", p)
	}
	if !p.HasExtras([]string{"setup", "clock", "agent"}) || p.HasExtras([]string{"agent"}) {
		t.Error("extras are not told by the names of recipes")
	}
	if p, err = one(""); err != nil || p.WithExtras() != p || p.HasExtras([]string{"agent"}) {
		t.Errorf("without extras: %+v, %v", p, err)
	}
	for rest, want := range map[string]string{
		"extras: {recipes: [clocks]}\n":         `a.yaml:8: a uses "clocks", which is not a recipe`,
		"extras: {recipes: [agent]}\n":          `a.yaml:8: a uses "agent" twice`,
		"extras: {active_units: [a.service]}\n": "recipes",
	} {
		if _, err := one(rest); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v; wanted %q", rest, err, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	const good = "kernel_id: b\ndetect: [{virt: kvm}]\n"
	for name, c := range map[string]struct{ a, want string }{
		"no detection":      {"kernel_id: a\n", "a.yaml:1: no rules to detect a machine; wanted detect:"},
		"an empty rule":     {"kernel_id: a\ndetect:\n  - virt: kvm\n  - {fallback: true}\n", "a.yaml:8: a rule without conditions"},
		"for initramfs":     {"kernel_id: a\ndetect: [{virt: xen}]\ninitrd:\n  recipes: [tool]\n", `a.yaml:8: a uses "tool", which is not a recipe`},
		"a file as module":  {"kernel_id: a\ndetect: [{virt: xen}]\ninitrd:\n  modules: [a/b.ko]\n", `a.yaml:8: module "a/b.ko"; wanted letters`},
		"an unknown field":  {"kernel_id: a\ndetect: [{dmi: {vendor: x}}]\n", `a.yaml:6: "vendor" is not a DMI field; wanted one of [bios_vendor`},
		"space in a marker": {"kernel_id: a\ndetect: [{dmi: {sys_vendor: 'x '}}]\n", `a.yaml:6: sys_vendor: "x "; wanted text without leading or trailing space`},
		"a container":       {"kernel_id: a\ndetect: [{virt: docker}]\n", `a.yaml:6: virt: "docker" is not a virtual machine of systemd-detect-virt`},
		"an unknown rule":   {"kernel_id: a\ndetect: [{bios: x}]\n", `a.yaml:6: unknown key "bios"`},
		"before nothing":    {"kernel_id: a\ndetect: [{virt: xen}]\ndetect_before: [c]\n", `a.yaml:7: detect_before: "c" is not another platform's id; wanted one of b`},
		"like itself":       {"kernel_id: a\nambiguous_with:\n  - a\n", `a.yaml:7: ambiguous_with: "a" is not another platform's id; wanted one of b`},
		"a shared id":       {"kernel_id: c\ndetect: [{virt: xen}]\n", "d.yaml:5: kernel_id c is also that of a"},
		"a shared id early": {"kernel_id: b\ndetect: [{virt: xen}]\ninitrd: {second_stage: true, recipes: [tool]}\n", "a.yaml:5: initrd: second_stage: kernel_id b stands for b"},
		"an id of another":  {"kernel_id: b\ndetect: [{virt: xen}]\n", "a.yaml:5: kernel_id b is that of b (platforms/b.yaml), whose machines this platform's are taken for; wanted another one, or ambiguous_with: [b]"},
		"no id":             {"kernel_id: A B\ndetect: [{virt: xen}]\n", `a.yaml:5: kernel_id "A B"; wanted lower case letters`},
		"two words":         {"kernel_id: a\ndetect: [{virt: xen}]\nkernel_arguments: {arm64: [a b]}\n", `"a b"; wanted one word each`},
		"its own id":        {"kernel_id: a\ndetect: [{virt: xen}]\nkernel_arguments: {all: [flatcar.oem.id=a]}\n", "set kernel_id instead"},
		"no reason":         {"kernel_id: a\ndetect: [{virt: xen}]\nmissing: {agent: ' '}\n", `missing: agent: " "; wanted the reason in one line`},
	} {
		definitions := []string{"a", c.a, "b", good}
		if strings.HasPrefix(name, "a shared id") {
			definitions = append(definitions, "d", c.a)
		}
		_, err := load(definitions...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v; want %q", name, err, c.want)
		}
	}
	_, err := load("a", good+"detect_before: [b]\n", "b", good+"detect_before: [a]\n")
	if err == nil || !strings.Contains(err.Error(), "a and b are each before the other") {
		t.Errorf("error is %v", err)
	}
}
