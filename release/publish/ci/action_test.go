package ci

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const dotGitHub = "../../../.github/"

// action is what the rules look at.
type action struct {
	Inputs map[string]struct {
		Description string  `yaml:"description"`
		Default     *string `yaml:"default"`
	} `yaml:"inputs"`
	Runs struct {
		Using string `yaml:"using"`
		Steps []struct {
			Uses  string            `yaml:"uses"`
			Shell string            `yaml:"shell"`
			Run   string            `yaml:"run"`
			Env   map[string]string `yaml:"env"`
		} `yaml:"steps"`
	} `yaml:"runs"`
}

// TestAction says that the action interprets none of its inputs, and passes all of them on.
func TestAction(t *testing.T) {
	content, err := os.ReadFile(dotGitHub + "actions/compose/action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var a action
	if err := yaml.Unmarshal(content, &a); err != nil {
		t.Fatal(err)
	}
	var passed []string
	for _, step := range a.Runs.Steps {
		if strings.Contains(step.Run, "${{") || step.Shell != "bash" || step.Uses != "" && !pinned.MatchString(step.Uses) {
			t.Errorf("step %+v; wanted bash, actions pinned by a commit, and inputs as variables only", step)
		}
		for _, value := range step.Env {
			passed = append(passed, strings.TrimSuffix(strings.TrimPrefix(value, "${{ inputs."), " }}"))
		}
	}
	for name, input := range a.Inputs {
		if input.Description == "" || input.Default == nil || !slices.Contains(passed, name) {
			t.Errorf("input %s: wanted a description, a default, and that it is passed on", name)
		}
	}
	if a.Runs.Using != "composite" || len(passed) != len(a.Inputs) {
		t.Errorf("%s; inputs %v are passed on", a.Runs.Using, passed)
	}
}

// TestActionRuns runs the action's script with a stand-in for the targets, which says what it was asked.
func TestActionRuns(t *testing.T) {
	const mage = `#!/bin/sh
echo "$* $ARCH $BASE $PROFILE $OUTPUT" >>"$ASKED"
[ "$FORMAT" != json ] || printf '{\n  "schema": 2,\n  "version": "1.2.3+x",\n  "base": {\n    "version": "no"\n  }\n}\n'
`
	for platform, want := range map[string]struct{ asked, output string }{
		"":      {"ci:combine arm64 forky WORKSPACE/mine/edge.yaml WORKSPACE/_output", "directory=WORKSPACE/_output/1.2.3+x/arm64\nversion=1.2.3+x\n"},
		"azure": {"build:platform azure arm64 forky WORKSPACE/mine/edge.yaml WORKSPACE/_output", "directory=WORKSPACE/_output/images/arm64\nversion=\n"},
	} {
		dir := t.TempDir()
		workspace, checkout := filepath.Join(dir, "work"), filepath.Join(dir, "action")
		if err := os.CopyFS(filepath.Join(checkout, ".github/actions/compose"), os.DirFS(dotGitHub+"actions/compose")); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{filepath.Join(checkout, "scripts"), filepath.Join(workspace, "mine")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for name, content := range map[string]string{checkout + "/scripts/mage": mage, workspace + "/mine/edge.yaml": ""} {
			if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		// Where the test's user is not root, sudo has to be the same as without.
		sudo := "#!/bin/sh\nshift\nexec \"$@\"\n"
		if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte(sudo), 0o755); err != nil {
			t.Fatal(err)
		}
		script := exec.CommandContext(t.Context(), filepath.Join(checkout, ".github/actions/compose/run.sh"))
		script.Dir = workspace
		script.Env = []string{
			"PATH=" + dir + ":" + os.Getenv("PATH"), "GITHUB_WORKSPACE=" + workspace, "GITHUB_OUTPUT=" + filepath.Join(dir, "output"), "ASKED=" + filepath.Join(dir, "asked"),
			"PLATFORM=" + platform, "PROFILE=mine/edge.yaml", "BASE=forky", "VERSION=", "ARCH=arm64", "FORMAT=",
		}
		if out, err := script.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for name, want := range map[string]string{"asked": want.asked + "\n", "output": want.output} {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.ReplaceAll(want, "WORKSPACE", workspace), string(got)); diff != "" {
				t.Errorf("%q, %s: %s", platform, name, diff)
			}
		}
	}
}

// TestContainerfile says that the image has all host programs that scripts/mage looks for.
func TestContainerfile(t *testing.T) {
	content, err := os.ReadFile(dotGitHub + "Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := os.ReadFile("../../../scripts/mage")
	if err != nil {
		t.Fatal(err)
	}
	lists := regexp.MustCompile(`(?s)needed_for_(?:all|tests)='(.*?)'`).FindAllStringSubmatch(string(entry), -1)
	if len(lists) != 2 {
		t.Fatalf("scripts/mage has %d lists of programs", len(lists))
	}
	installed := strings.Fields(string(content))
	for _, list := range lists {
		for line := range strings.Lines(strings.TrimSpace(list[1])) {
			if packageOf := strings.Fields(line)[1]; !slices.Contains(installed, packageOf) {
				t.Errorf("the image lacks %s", packageOf)
			}
		}
	}
	if from := regexp.MustCompile(`(?m)^FROM (.*)$`).FindStringSubmatch(string(content)); from == nil || !fixed.MatchString(from[1]) {
		t.Errorf("the image is from %q; wanted one with a version", from)
	}
}
