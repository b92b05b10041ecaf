package debian

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseGroups(t *testing.T) {
	groups, err := parseGroups("libc6 (>= 2.34), default-mta | mail-transport-agent,\n python3:any (<<3.14~) , x (= 1:2-3), old (> 1), a [amd64 !arm64], b:native (<=1) [any],")
	if err != nil {
		t.Fatal(err)
	}
	want := []group{
		{{name: "libc6", op: ">=", version: "2.34"}},
		{{name: "default-mta"}, {name: "mail-transport-agent"}},
		{{name: "python3", arch: "any", op: "<<", version: "3.14~"}},
		{{name: "x", op: "=", version: "1:2-3"}},
		{{name: "old", op: ">=", version: "1"}},
		{{name: "a"}},
		{{name: "b", arch: "native", op: "<=", version: "1"}},
	}
	if diff := cmp.Diff(want, groups, cmp.AllowUnexported(relation{})); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
	if text := groups[1].String(); text != "default-mta | mail-transport-agent" {
		t.Errorf("prints %q", text)
	}
	for _, bad := range []string{
		"|", "a |", "(>= 1)", "a (1)", "a (>= )", "a (>= 1", "a (== 1)", "a (>= 1) b", "a b", "a <!nocheck>", "../x", "a (>= 1 2)", "ä",
	} {
		if got, err := parseGroups(bad); err == nil {
			t.Errorf("parseGroups(%q) = %v", bad, got)
		}
	}
}

func TestAllows(t *testing.T) {
	for text, want := range map[string][3]bool{ // whether 1, 2, 3 are allowed
		"a": {true, true, true}, "a (<< 2)": {true, false, false}, "a (<= 2)": {true, true, false},
		"a (= 2)": {false, true, false}, "a (>= 2)": {false, true, true}, "a (>> 2)": {false, false, true},
	} {
		r, err := parseRelation(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := [3]bool{r.allows("1"), r.allows("2"), r.allows("3")}; got != want {
			t.Errorf("%s allows %v, wanted %v", text, got, want)
		}
	}
}

func FuzzParseGroups(f *testing.F) {
	f.Add("libc6 (>= 2.34), a | b:any (<< 1) [amd64], c")
	f.Add("a (")
	f.Fuzz(func(t *testing.T, text string) {
		groups, err := parseGroups(text)
		if err != nil {
			return
		}
		for _, g := range groups {
			again, err := parseGroups(g.String())
			if err != nil || len(again) != 1 {
				t.Fatalf("%q is read as %q, which is not read again: %v", text, g, err)
			}
			if diff := cmp.Diff(g, again[0], cmp.AllowUnexported(relation{})); diff != "" {
				t.Errorf("%q: %s", text, diff)
			}
		}
	})
}
