package setup

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of settings into release/README.md")

// WriteSettings writes the table of all settings in Markdown.
func WriteSettings(out io.Writer) error {
	var table strings.Builder
	table.WriteString("| variable | meaning | default |\n| --- | --- | --- |\n")
	for _, s := range Settings() {
		fallback := s.Default
		if s.literal {
			fallback = "`" + fallback + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", s.Name, cell(s.Meaning), cell(fallback))
	}
	_, err := io.WriteString(out, table.String())
	return err
}

// cell escapes what would end a cell, or begin emphasis or a tag, in a table of Markdown. Code that is all of a cell stays as it is.
func cell(text string) string {
	if strings.HasPrefix(text, "`") {
		return strings.ReplaceAll(text, "|", `\|`)
	}
	return strings.NewReplacer("|", `\|`, "*", `\*`, "<", "&lt;").Replace(text)
}

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

// What would end a cell, or begin emphasis or a tag, does not.
func TestCellsOfTheTable(t *testing.T) {
	for text, want := range map[string]string{"a | b": `a \| b`, "*.raw <x>": `\*.raw &lt;x>`, "`*|`": "`*\\|`"} {
		if got := cell(text); got != want {
			t.Errorf("%q becomes %q, wanted %q", text, got, want)
		}
	}
}
