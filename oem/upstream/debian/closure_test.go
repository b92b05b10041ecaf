package debian

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/upstream/debian/debiantest"
)

// packagesOf loads indexes: pockets by name, each a list of stanzas.
func packagesOf(t *testing.T, pockets ...[]string) *Packages {
	t.Helper()
	p := newPackages("trixie", "amd64")
	for i, stanzas := range pockets {
		text, err := Reduce(strings.NewReader(strings.Join(stanzas, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.add([]string{"trixie", "trixie-updates", "trixie-security"}[i], text); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.collectProvides(); err != nil {
		t.Fatal(err)
	}
	return p
}

// base has what a small system has.
func baseOf(t *testing.T, stanzas ...string) *Installed {
	t.Helper()
	have, err := ParseStatus(strings.NewReader(strings.Join(stanzas, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return have
}

func installedOf(name, version string, lines ...string) string {
	return debiantest.Stanza(name, version, append(lines, "Status: install ok installed")...)
}

func TestClosure(t *testing.T) {
	packages := packagesOf(t, []string{
		debiantest.Stanza("agent", "2", "Depends: python, libnew (>= 1.2), adduser, mta | mail", "Pre-Depends: early", "Recommends: huge", "Breaks: python (<< 1)"),
		debiantest.Stanza("early", "1"),
		debiantest.Stanza("python", "3", "Depends: python-lib (= 3), libc (>= 2)", "Provides: python-abi (= 3.13)"),
		debiantest.Stanza("python-lib", "3", "Depends: python:any"),
		debiantest.Stanza("libnew", "1.1"),
		debiantest.Stanza("libc", "3"),
		debiantest.Stanza("adduser", "1", "Depends: perl"),
		debiantest.Stanza("perl", "1"),
		debiantest.Stanza("huge", "1"),
		debiantest.Stanza("small-mta", "1", "Provides: mail"),
		debiantest.Stanza("exim", "1", "Provides: mail", "Priority: standard"),
		debiantest.Stanza("a-mta", "1", "Provides: mail", "Priority: optional"),
		debiantest.Stanza("needs-abi", "1", "Depends: python-abi (>= 3.12), python-abi (<< 3.14)"),
		debiantest.Stanza("loop-a", "1", "Depends: loop-b"),
		debiantest.Stanza("loop-b", "1", "Depends: loop-a"),
		debiantest.Stanza("first-fails", "1", "Depends: broken | small-mta"),
		debiantest.Stanza("broken", "1", "Depends: early, nowhere"),
		debiantest.Stanza("chosen-first", "1", "Depends: huge | mail, exim"),
		debiantest.Stanza("other-arch", "1", "Depends: early:arm64 | early"),
	}, nil, []string{
		debiantest.Stanza("libnew", "1.2-1+deb13u1"),
		debiantest.Stanza("huge", "0.9"),
	})
	base := baseOf(t,
		installedOf("libc", "2.41"),
		installedOf("perl-base", "5", "Provides: perlapi"),
		debiantest.Stanza("exim", "1", "Status: deinstall ok config-files", "Provides: mail"),
	)
	for _, test := range []struct {
		name    string
		ask     Ask
		want    string
		present string
		unused  string
	}{
		{"all", Ask{Want: []string{"agent"}}, "adduser agent early exim libc libnew perl python python-lib", "", ""},
		{"minus the base", Ask{Want: []string{"agent"}, Have: base}, "adduser agent early exim libnew perl python python-lib", "", ""},
		{"without", Ask{Want: []string{"agent"}, Have: base, Without: []string{"adduser", "exim", "ucf", "perl"}}, "agent early libnew python python-lib", "", "perl ucf"},
		{"without a virtual package", Ask{Want: []string{"agent"}, Have: base, Without: []string{"mail", "python"}}, "adduser agent early libnew perl", "", ""},
		{"the base has it", Ask{Want: []string{"libc", "early"}, Have: base}, "early", "libc", ""},
		{"wanted twice, and preferred", Ask{Want: []string{"small-mta", "agent", "agent"}, Have: base}, "adduser agent early libnew perl python python-lib small-mta", "", ""},
		{"versioned provides", Ask{Want: []string{"needs-abi"}, Have: base}, "needs-abi python python-lib", "", ""},
		{"loop", Ask{Want: []string{"loop-a"}}, "loop-a loop-b", "", ""},
		{"an alternative that fails leaves nothing", Ask{Want: []string{"first-fails"}}, "first-fails small-mta", "", ""},
		{"the wanted decide among alternatives", Ask{Want: []string{"chosen-first", "exim"}}, "chosen-first exim", "", ""},
		{"architectures", Ask{Want: []string{"other-arch"}}, "early other-arch", "", ""},
		{"nothing", Ask{}, "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := packages.Closure(test.ask)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range got.Packages {
				names = append(names, p.Name)
			}
			want := []string{test.want, test.present, test.unused}
			if diff := cmp.Diff(want, []string{strings.Join(names, " "), strings.Join(got.Present, " "), strings.Join(got.Unused, " ")}); diff != "" {
				t.Errorf("packages, present, unused; wanted (-), got (+):\n%s", diff)
			}
		})
	}
}

func TestHighestVersionWins(t *testing.T) {
	packages := packagesOf(t,
		[]string{debiantest.Stanza("x", "1.10"), debiantest.Stanza("y", "1"), debiantest.Stanza("z", "1")},
		[]string{debiantest.Stanza("x", "1.9"), debiantest.Stanza("y", "1")},
		[]string{debiantest.Stanza("z", "1+deb13u1")})
	got, err := packages.Closure(Ask{Want: []string{"x", "y", "z"}})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range got.Packages {
		lines = append(lines, p.Name+" "+p.Version+" "+p.Pocket+" "+p.Filename)
	}
	want := []string{"x 1.10 trixie pool/x_1.10.deb", "y 1 trixie pool/y_1.deb", "z 1+deb13u1 trixie-security pool/z_1+deb13u1.deb"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
}

func TestClosureRefuses(t *testing.T) {
	packages := packagesOf(t, []string{
		debiantest.Stanza("waagent", "2", "Depends: python3"),
		debiantest.Stanza("python3", "3.13", "Depends: libpython3"),
		debiantest.Stanza("libpython3", "3.13", "Depends: libc6 (>= 2.41)"),
		debiantest.Stanza("too-new", "1", "Depends: libc6 (>= 3)"),
		debiantest.Stanza("nowhere-near", "1", "Depends: qqqqqqqqq | libc6 (<< 1)"),
		debiantest.Stanza("virtual", "1", "Depends: only-one"),
		debiantest.Stanza("provider", "1", "Provides: only-one", "Depends: missing-thing"),
		debiantest.Stanza("malformed", "1", "Depends: a ("),
		debiantest.Stanza("abi-user", "1", "Depends: only-one (>= 2)"),
		debiantest.Stanza("libc-abi-user", "1", "Depends: libc-abi"),
		debiantest.Stanza("libc6", "2.42", "Provides: libc-abi"),
	})
	base := baseOf(t, installedOf("libc6", "2.36"))
	for _, test := range []struct {
		ask  Ask
		says []string
	}{
		{Ask{Want: []string{"wagent"}}, []string{"trixie has no package wagent; similar: waagent"}},
		{Ask{Want: []string{"python"}}, []string{"no package python; similar: python3, libpython3"}},
		{Ask{Want: []string{"qqqqqqqqq", "wagent"}}, []string{"trixie has no package qqqqqqqqq\n", "similar: waagent"}},
		{Ask{Want: []string{"waagent"}, Have: base}, []string{
			"waagent -> python3 -> libpython3 -> libc6 (>= 2.41): the base has libc6 2.36, which cannot be replaced (trixie has 2.42)",
		}},
		{Ask{Want: []string{"too-new"}}, []string{"too-new -> libc6 (>= 3): trixie has libc6 2.42 (amd64)"}},
		{Ask{Want: []string{"nowhere-near"}}, []string{"no alternative is available", "no package qqqqqqqqq", "libc6 (<< 1)"}},
		{Ask{Want: []string{"virtual"}}, []string{"virtual -> provider -> trixie has no package missing-thing"}},
		{Ask{Want: []string{"abi-user"}}, []string{`abi-user -> only-one (>= 2): provider provides it in version ""`}},
		{Ask{Want: []string{"libc-abi-user"}, Have: base}, []string{"libc-abi: the base has libc6 2.36, which cannot be replaced"}},
		{Ask{Want: []string{"malformed"}}, []string{"package malformed 1, field Depends"}},
		{Ask{Want: []string{"libc6"}, Without: []string{"libc6"}}, []string{"both in packages and in without"}},
	} {
		_, err := packages.Closure(test.ask)
		if err == nil {
			t.Errorf("%v: accepted", test.ask.Want)
			continue
		}
		for _, text := range test.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%v: error lacks %q:\n%v", test.ask.Want, text, err)
			}
		}
	}
}

func TestParseStatus(t *testing.T) {
	have := baseOf(t,
		installedOf("a", "1", "Provides: b (= 2), c", "Conffiles:\n /etc/x 123"),
		debiantest.Stanza("pending", "1", "Status: install ok triggers-pending"),
		debiantest.Stanza("held", "1", "Status: hold ok installed"),
		debiantest.Stanza("half", "1", "Status: install reinstreq half-installed"),
		debiantest.Stanza("gone", "1", "Status: deinstall ok config-files"),
	)
	for text, want := range map[string]bool{
		"a": true, "a (>= 2)": false, "a:any": true, "a:arm64": false, "b (>= 2)": true, "b (>> 2)": false, "c": true, "c (= 1)": false,
		"pending": true, "held": true, "half": false, "gone": false, "d": false,
	} {
		r, err := parseRelation(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := have.satisfies(r, "amd64"); got != want {
			t.Errorf("satisfies %s: %v", text, got)
		}
	}
	if have.Version("a") != "1" || have.Version("gone") != "" {
		t.Errorf("versions are %q, %q", have.Version("a"), have.Version("gone"))
	}
	if _, err := ParseStatus(strings.NewReader("Package: a\nStatus: install ok installed\n")); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("error is %v", err)
	}
}
