package scripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// completed returns what bash proposes behind a line.
func completed(t *testing.T, checkout, line string) string {
	t.Helper()
	// Bash hands over the command as it was typed, and replaces what is behind the last colon.
	const script = `. ./completion.bash
COMP_LINE=$1 COMP_POINT=${#1}
_scripts_mage "$0/scripts/mage"
printf '%s\n' "${COMPREPLY[*]}"`
	out, err := exec.CommandContext(t.Context(), "bash", "-uc", script, checkout, line).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", line, err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	checkout := t.TempDir()
	for name, content := range map[string]string{
		".cache/mage/0123/mage": "#!/bin/sh\n[ \"$*\" = -l ] && printf 'What it is.\\n\\nTargets:\\n  fit            prints.\\n  fit:explain    says.\\n  recipe:show    prints.\\n'\n",
		"platforms/azure.yaml":  "", "platforms/ami.yaml": "", "platforms/README.md": "",
		"recipes/chrony/recipe.yaml": "", "recipes/waagent/recipe.yaml": "", "recipes/README.md": "",
		"release/profiles/own.yaml": "", "_output/9998.0.0/amd64/manifest.json": "", "_output/images/amd64/oem-azure.raw": "", "scripts/mage": "",
	} {
		path := filepath.Join(checkout, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{
		"":                          "fit fit:explain recipe:show",
		"fi":                        "fit fit:explain",
		"fit:":                      "explain",
		"-h rec":                    "recipe:show",
		"-v prove:platform a":       "ami azure",
		"recipe:show ":              "chrony waagent",
		"recipe:show chrony ":       "",
		"recipe:lock ":              "all chrony waagent",
		"fit:explain oem-az":        "oem-azure",
		"prove:rollback ":           "9998.0.0",
		"prove:rollback 9998.0.0 a": "all ami azure",
		"compose ":                  "own",
		"clean ":                    "",
	} {
		for _, typed := range []string{"scripts/mage ", "BASE=forky ./scripts/mage "} {
			if diff := cmp.Diff(want, completed(t, checkout, typed+line)); diff != "" {
				t.Errorf("%q: %s", typed+line, diff)
			}
		}
	}
	if err := os.RemoveAll(filepath.Join(checkout, ".cache")); err != nil {
		t.Fatal(err)
	}
	if got := completed(t, checkout, "scripts/mage f"); got != "" {
		t.Errorf("before the first run there is %q", got)
	}
}

// Each target that is completed exists, and takes an argument.
func TestCompletedTargets(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("completion.bash")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`([a-z]+)(?::([a-zA-Z]+))?/[12]\b`).FindAllStringSubmatch(string(script), -1)
	if len(found) < 20 {
		t.Fatalf("only %d targets are completed: %v", len(found), found)
	}
	for _, target := range found {
		files, function := "../magefiles/"+target[1]+"/*.go", target[2]
		if function == "" {
			files, function = "../magefiles/magefile.go", target[1]
		}
		declared := regexp.MustCompile(fmt.Sprintf(`(?m)^func (?i:%s)\(ctx context.Context, .*string\) error`, function))
		var all []byte
		paths, err := filepath.Glob(files)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, content...)
		}
		if !declared.Match(all) {
			t.Errorf("%s: no target with an argument", target[0])
		}
	}
}
