package setup

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of settings into release/README.md")

// TestSettingsInTheREADME compares the table in release/README.md with the settings that there are.
// With -update it writes the table anew.
func TestSettingsInTheREADME(t *testing.T) {
	const file, begin, end = "../README.md", "<!-- settings -->\n", "<!-- end of settings -->\n"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), begin)
	table, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s has no table between %q and %q", file, begin, end)
	}
	var want bytes.Buffer
	if err := WriteSettings(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), table); diff != "" {
		t.Errorf("%s has another table; run: go test ./release/setup -run TestSettingsInTheREADME -update\n%s", file, diff)
	}
}

// Every setting has a meaning, and none of them breaks the table.
func TestSettingsHaveMeanings(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Settings() {
		if s.Meaning == "" || strings.ContainsAny(s.Meaning+s.Default, "\n`") || seen[s.Name] {
			t.Errorf("%s: meaning %q, default %q", s.Name, s.Meaning, s.Default)
		}
		seen[s.Name] = true
	}
	for text, want := range map[string]string{"a | b": `a \| b`, "*.raw <x>": `\*.raw &lt;x>`, "`*|`": "`*\\|`"} {
		if got := cell(text); got != want {
			t.Errorf("%q becomes %q, wanted %q", text, got, want)
		}
	}
}
