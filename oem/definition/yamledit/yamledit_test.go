package yamledit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const recipe = `# What it is.
name:   tool # aligned by hand

sources:
  - go:
      version: v1.0.0 # pinned
      sum: "h1:ab="
  - {url: {version: '1.0', sha256: {all: 00}, ä: x, after: é}} # all in one
text: |
  two
  lines
escaped: "a\tb"
`

func TestSet(t *testing.T) {
	for _, test := range []struct {
		value    string
		path     []any
		old, new string
	}{
		{"other", []any{"name"}, "name:   tool #", "name:   other #"},
		{"v1.1.0", []any{"sources", 0, "go", "version"}, "v1.0.0 # pinned", "v1.1.0 # pinned"},
		{"h1:cd=", []any{"sources", 0, "go", "sum"}, `"h1:ab="`, `"h1:cd="`},
		{"2.0", []any{"sources", 1, "url", "version"}, "'1.0'", "'2.0'"},
		{"ffff", []any{"sources", 1, "url", "sha256", "all"}, "{all: 00}", "{all: ffff}"},
		{"y", []any{"sources", 1, "url", "after"}, "after: é}", "after: y}"},
	} {
		got, err := Set([]byte(recipe), test.value, test.path...)
		want := strings.Replace(recipe, test.old, test.new, 1)
		if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
			t.Errorf("%v: %v\n%s", test.path, err, diff)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	for says, path := range map[string][]any{
		"no value at [gone]":      {"gone"},
		"no value at [sources 7]": {"sources", 7},
		"no value at [name 0]":    {"name", 0},
		"not a value on one line": {"sources"},
		"line 9: [text] is not a": {"text"},
		"has escapes":             {"escaped"},
	} {
		if _, err := Set([]byte(recipe), "x", path...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: error is %v", path, err)
		}
	}
	for _, value := range []string{"a # b", "a: b", "[a", "a\nb"} {
		if got, err := Set([]byte(recipe), value, "name"); err == nil {
			t.Errorf("%q: made\n%s", value, got)
		}
	}
}

func FuzzSet(f *testing.F) {
	f.Add(recipe, "x")
	f.Add("name: a", "b")
	f.Fuzz(func(t *testing.T, content, value string) {
		changed, err := Set([]byte(content), value, "name")
		if err != nil {
			return
		}
		var read struct{ Name yaml.Node }
		if err := yaml.Unmarshal(changed, &read); err == nil && read.Name.Value != value {
			t.Errorf("%q became %q", content, changed)
		}
	})
}
