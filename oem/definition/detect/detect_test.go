package detect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern Pattern
		marker  string
		want    bool
	}{
		{"Droplet", "Droplet", true},
		{"Droplet", "droplet", true},
		{"Droplet", "Droplet 2", false},
		{"Exoscale*", "Exoscale Compute Platform", true},
		{"Exoscale*", "Exoscale", true},
		{"????2?ec-*", "5f3e21EC-2c6b-4f4a-9d0c-1a2b3c4d5e6f", true},
		{"????2?ec-*", "5f3e2EC-2c6b-4f4a-9d0c-1a2b3c4d5e6f", false},
		{"*", "", false},
		{"Standard PC (*)", "Standard PC (Q35 + ICH9, 2009)", true},
		{"Standard PC (.*)", "Standard PC (Q35 + ICH9, 2009)", false},
		{"a*b*c", "a/b\nc", true},
		{"??", "\xff\xfe", true},
	} {
		if got := c.pattern.Match(c.marker); got != c.want {
			t.Errorf("%q matches %q: %v; want %v", c.pattern, c.marker, got, c.want)
		}
	}
}

func TestNegatedPattern(t *testing.T) {
	machine := Machine{DMI: map[Field]string{"bios_vendor": "Xen"}, DiskLabels: []string{"a", "b"}}
	for _, c := range []struct {
		rule Rule
		want bool
	}{
		{Rule{DMI: map[Field]Pattern{"bios_vendor": "!Xe?"}, DiskLabel: "a"}, false},
		{Rule{DMI: map[Field]Pattern{"bios_vendor": "!Xe"}, DiskLabel: "a"}, true},
		{Rule{DMI: map[Field]Pattern{"sys_vendor": "!Xen"}, DiskLabel: "a"}, true}, // there is none
		{Rule{DMI: map[Field]Pattern{"bios_vendor": "xen"}, DiskLabel: "!b"}, false},
		{Rule{DMI: map[Field]Pattern{"bios_vendor": "xen"}, DiskLabel: "!c"}, true},
		{Rule{DMI: map[Field]Pattern{"sys_vendor": "!Xen"}}, false}, // every machine would fit
	} {
		if got := c.rule.fits(machine); got != c.want {
			t.Errorf("%+v: %v", c.rule, got)
		}
	}
	for text, good := range map[string]bool{"!x": true, "!": false, "! x": false, "!!x": true} {
		if err := new(Pattern).UnmarshalText([]byte(text)); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
	if !(Rule{DMI: map[Field]Pattern{"sys_vendor": "!Xen"}, Virt: ""}).Empty() || (Rule{Virt: "xen"}).Empty() {
		t.Error("what a rule asks for is not seen")
	}
}

func TestValues(t *testing.T) {
	var pattern Pattern
	for _, text := range []string{"", " x", "x\n"} {
		if err := pattern.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("pattern %q is accepted", text)
		}
	}
	var field Field
	if err := field.UnmarshalText([]byte("vendor")); err == nil || !strings.Contains(err.Error(), "sys_vendor") {
		t.Errorf("error is %v", err)
	}
	var virt Virt
	if err := virt.UnmarshalText([]byte("kvm")); err != nil || virt != "kvm" {
		t.Errorf("%v, %v", virt, err)
	}
	if err := virt.UnmarshalText([]byte("docker")); err == nil {
		t.Error("a container is accepted as a virtual machine")
	}
}

func TestJudge(t *testing.T) {
	vendor := func(pattern Pattern) []Rule { return []Rule{{DMI: map[Field]Pattern{"sys_vendor": pattern}}} }
	candidates := []Candidate{
		{ID: "generic", Rules: vendor("v*")},
		{ID: "own", Rules: vendor("vm"), Before: []string{"generic"}, AmbiguousWith: []string{"generic"}},
		{ID: "hidden", AmbiguousWith: []string{"own"}},
		{ID: "rival", Rules: vendor("vx")},
		{ID: "last", Rules: []Rule{{DiskLabel: "l", Fallback: true}}},
		{ID: "pair", Rules: []Rule{{Virt: "kvm", KernelArgument: "p"}}},
		{ID: "careless", Rules: []Rule{{}}},
	}
	machine := func(vendor string) Machine {
		return Machine{DMI: map[Field]string{"sys_vendor": vendor}, DiskLabels: []string{"L"}}
	}
	both := Machine{Virt: "kvm", KernelArguments: []string{"p"}}
	half := Machine{Virt: "kvm"}
	for name, c := range map[string]struct {
		machine Machine
		want    Verdict
	}{
		"one that another may look like": {machine("v"), Verdict{ID: "generic", Maybe: []string{"own"}}},
		"the specific one wins":          {machine("vm"), Verdict{ID: "own", Maybe: []string{"hidden"}}},
		"none wins":                      {machine("vx"), Verdict{Maybe: []string{"generic", "own", "rival"}}},
		"fallback":                       {machine("x"), Verdict{ID: "last"}},
		"everything that a rule names":   {both, Verdict{ID: "pair"}},
		"not only a part":                {half, Verdict{}},
		"nothing":                        {Machine{}, Verdict{}},
	} {
		if diff := cmp.Diff(c.want, Judge(c.machine, candidates)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
