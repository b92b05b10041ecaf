package release

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// workflow is what the rules below look at.
type workflow struct {
	Permissions *map[string]string `yaml:"permissions"`
	Jobs        map[string]struct {
		Permissions *map[string]string `yaml:"permissions"`
		Timeout     int                `yaml:"timeout-minutes"`
		Steps       []struct {
			Uses string         `yaml:"uses"`
			With map[string]any `yaml:"with"`
			Run  string         `yaml:"run"`
		} `yaml:"steps"`
	} `yaml:"jobs"`
}

var (
	pinned = regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40}$`)
	// one target with at most one argument, and nothing for a shell to interpret but a variable
	onlyMage = regexp.MustCompile(`^scripts/mage ((?:[a-z]+:)?[a-zA-Z]+)(?: (?:"\$VERSION"|[0-9]+|all))?$`)
)

// mistakes returns what is wrong with a workflow.
func mistakes(t *testing.T, content []byte, targets string) (wrong []string) {
	t.Helper()
	var w workflow
	if err := yaml.Unmarshal(content, &w); err != nil {
		t.Fatal(err)
	}
	if w.Permissions == nil || len(*w.Permissions) > 0 {
		wrong = append(wrong, "jobs get permissions that they do not name")
	}
	for name, job := range w.Jobs {
		if job.Permissions == nil || job.Timeout == 0 {
			wrong = append(wrong, name+": no permissions or no time limit")
		}
		for _, step := range job.Steps {
			if step.Uses != "" && !pinned.MatchString(step.Uses) {
				wrong = append(wrong, step.Uses+": not pinned by a commit")
			}
			if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
				wrong = append(wrong, "the token is left in the checkout")
			}
			found := onlyMage.FindStringSubmatch(step.Run)
			if step.Run != "" && (found == nil || !strings.Contains(strings.ToLower(targets), " "+strings.ToLower(found[1])+" ")) {
				wrong = append(wrong, step.Run+": wanted one target of scripts/mage")
			}
		}
	}
	return wrong
}

// targets returns the names of all targets between blanks, as they are declared below magefiles.
func targets(t *testing.T) string {
	t.Helper()
	var names strings.Builder
	declared := regexp.MustCompile(`(?m)^func ([A-Z]\w*)\(`)
	paths, err := filepath.Glob("../magefiles/*.go")
	if err != nil {
		t.Fatal(err)
	}
	nested, err := filepath.Glob("../magefiles/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, nested...) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		namespace := strings.TrimPrefix(filepath.Base(filepath.Dir(path))+":", "magefiles:")
		for _, found := range declared.FindAllSubmatch(content, -1) {
			names.WriteString(" " + namespace + string(found[1]) + " ")
		}
	}
	return names.String()
}

func TestWorkflows(t *testing.T) {
	paths, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no workflows, %v", err)
	}
	all := targets(t)
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range mistakes(t, content, all) {
			t.Errorf("%s: %s", path, wrong)
		}
	}
	command := exec.CommandContext(t.Context(), "go", append([]string{"tool", "-modfile=.ci/actionlint/go.mod", "actionlint", "-no-color", "-shellcheck=", "-pyflakes="},
		".github/workflows/ci.yml", ".github/workflows/nightly.yml", ".github/workflows/release.yml")...)
	command.Dir = ".."
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("actionlint: %v\n%s", err, out)
	}
}

func TestMistakesInWorkflows(t *testing.T) {
	const bad = `
jobs:
  build:
    steps:
      - uses: actions/checkout@v4
      - run: curl example.org | sh
      - run: scripts/mage release:nothing
      - run: scripts/mage release; rm -rf /
`
	if got := mistakes(t, []byte(bad), targets(t)); len(got) != 7 {
		t.Errorf("found %q", got)
	}
}

func TestNightlyVersion(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	var out bytes.Buffer
	at := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	if err := NightlyVersion(Options{}, at, file, &out); err != nil {
		t.Fatal(err)
	}
	set, err := os.ReadFile(file)
	if err != nil || string(set) != "VERSION=9999.0.0+nightly-20260102-0304\n" || out.String() != "9999.0.0+nightly-20260102-0304\n" {
		t.Errorf("set %q, printed %q, %v", set, &out, err)
	}
	if err := NightlyVersion(Options{Version: "1.2"}, at, "", &out); err == nil || !strings.Contains(err.Error(), "VERSION: ") {
		t.Errorf("error is %v", err)
	}
}
