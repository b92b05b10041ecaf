package ci

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/flatcar/oem-sysext/release/setup"
)

// workflow is what the rules below look at.
type workflow struct {
	On          yaml.Node          `yaml:"on"`
	Permissions *map[string]string `yaml:"permissions"`
	Concurrency struct {
		Group string `yaml:"group"`
	} `yaml:"concurrency"`
	Env  map[string]string `yaml:"env"`
	Jobs map[string]struct {
		Uses        string             `yaml:"uses"`
		RunsOn      any                `yaml:"runs-on"`
		Permissions *map[string]string `yaml:"permissions"`
		Timeout     int                `yaml:"timeout-minutes"`
		Environment string             `yaml:"environment"`
		Container   struct {
			Image string `yaml:"image"`
		} `yaml:"container"`
		Env   map[string]string `yaml:"env"`
		Steps []workflowStep    `yaml:"steps"`
	} `yaml:"jobs"`
}

type workflowStep struct {
	Uses string            `yaml:"uses"`
	With map[string]any    `yaml:"with"`
	Run  string            `yaml:"run"`
	If   string            `yaml:"if"`
	Env  map[string]string `yaml:"env"`
}

var (
	pinned = regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40}$`)
	// one target with at most one argument, and nothing for a shell to interpret but a variable
	onlyMage = regexp.MustCompile(`^scripts/mage ((?:[a-z]+:)?[a-zA-Z]+)(?: (?:"\$VERSION"|"\$PART"|[a-z0-9]+))?$`)
	// an image of a distribution's release, or of a digest
	fixed  = regexp.MustCompile(`:(?:[0-9]+|[a-z]+-scm)$|@sha256:[0-9a-f]{64}$`)
	secret = regexp.MustCompile(`\bsecrets\b|github\.token`) // all of them at once, too
	// what those write who open a pull request, or are taken for someone else by
	untrusted = regexp.MustCompile(`github\.(event\.|head_ref|actor)`)
	// targets that run what recipes bring, or what was built
	building = regexp.MustCompile(`^scripts/mage (release|test|testNightly|testHosts|lint|build.*|prove.*|ci:prepare|ci:shard .*|ci:combine|ci:prove .*)$`)
)

// mistakes returns what is wrong with a workflow.
func mistakes(t *testing.T, content []byte, targets string) (wrong []string) {
	t.Helper()
	var w workflow
	if err := yaml.Unmarshal(content, &w); err != nil {
		t.Fatal(err)
	}
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if w.Permissions == nil || len(*w.Permissions) > 0 {
		say("jobs get permissions that they do not name")
	}
	if w.Concurrency.Group == "" {
		say("two runs may be in each other's way")
	}
	events, err := yaml.Marshal(&w.On)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(events), "tags:") && !strings.Contains(w.Concurrency.Group, "github.ref") {
		say("of tags that wait for each other, only the last gets its run")
	}
	if strings.Contains(string(events), "pull_request_target") || strings.Contains(string(events), "workflow_run") {
		say("others' code may get our token")
	}
	forked := strings.Contains(string(events), "pull_request")
	if hasSecret(w.Env) {
		say("all jobs get a secret")
	}
	if found := untrusted.Find(content); found != nil {
		say("%s: others decide what it is", found)
	}
	for name, job := range w.Jobs {
		if job.Uses != "" || strings.Contains(fmt.Sprint(job.RunsOn), "self-hosted") {
			say("%s: it runs elsewhere, with what is there", name)
		}
		if job.Permissions == nil || job.Timeout == 0 {
			say("%s: no permissions or no time limit", name)
		}
		if image := job.Container.Image; image != "" && !fixed.MatchString(image) {
			say("%s: %s: wanted an image with a version", name, image)
		}
		if hasSecret(job.Env) {
			say("%s: all steps get a secret", name)
		}
		writes, keys, removes := false, false, false
		if job.Permissions != nil {
			for _, level := range *job.Permissions {
				writes = writes || level != "read"
			}
		}
		if forked && writes {
			say("%s: pull requests may write", name)
		}
		for _, step := range job.Steps {
			for _, mistake := range step.mistakes(targets) {
				say("%s: %s", name, mistake)
			}
			if forked && hasSecret(step.Env) {
				say("%s: pull requests see a secret", name)
			}
			if writes && (building.MatchString(step.Run) || strings.HasPrefix(step.Uses, "actions/cache@")) {
				say("%s: %s%s: what is built, or kept by other runs, gets a token that may write", name, step.Run, step.Uses)
			}
			if strings.Contains(fmt.Sprint(step.Env, step.With), "secrets") && job.Environment != "keys" {
				say("%s: %s%s: a secret without the environment that guards it", name, step.Run, step.Uses)
			}
			keys = keys || step.Run == "scripts/mage ci:keys"
			removes = removes || step.Run == "scripts/mage ci:removeKeys" && step.If == "always()"
		}
		if keys && !removes {
			say("%s: keys are left", name)
		}
	}
	return wrong
}

func (s workflowStep) mistakes(targets string) (wrong []string) {
	if s.Uses != "" && !pinned.MatchString(s.Uses) {
		wrong = append(wrong, s.Uses+": not pinned by a commit")
	}
	if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != false {
		wrong = append(wrong, "the token is left in the checkout")
	}
	if key, _ := s.With["key"].(string); strings.HasPrefix(s.Uses, "actions/cache@") && !strings.Contains(key, "hashFiles(") {
		wrong = append(wrong, "the key of a cache is no digest of what it is for")
	}
	if path, _ := s.With["path"].(string); (strings.HasPrefix(s.Uses, "actions/upload-artifact@") || strings.HasPrefix(s.Uses, "actions/upload-pages-artifact@")) && !strings.HasPrefix(path, "_") {
		wrong = append(wrong, path+": wanted one of the directories that results go to")
	}
	found := onlyMage.FindStringSubmatch(s.Run)
	if s.Run != "" && (found == nil || !strings.Contains(strings.ToLower(targets), " "+strings.ToLower(found[1])+" ")) {
		wrong = append(wrong, s.Run+": wanted one target of scripts/mage")
	}
	return wrong
}

func hasSecret(env map[string]string) bool {
	for _, value := range env {
		if secret.MatchString(value) {
			return true
		}
	}
	return false
}

// targets returns the names of all targets between blanks, as they are declared below magefiles.
func targets(t *testing.T) string {
	t.Helper()
	var names strings.Builder
	declared := regexp.MustCompile(`(?m)^func ([A-Z]\w*)\(`)
	paths, err := filepath.Glob("../../../magefiles/*.go")
	if err != nil {
		t.Fatal(err)
	}
	nested, err := filepath.Glob("../../../magefiles/*/*.go")
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
	paths, err := filepath.Glob("../../../.github/workflows/*.yml")
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
	args := []string{"tool", "-modfile=.ci/actionlint/go.mod", "actionlint", "-no-color", "-shellcheck=", "-pyflakes="}
	for _, path := range paths {
		args = append(args, strings.TrimPrefix(path, "../../../"))
	}
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = "../../.."
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("actionlint: %v\n%s", err, out)
	}
}

func TestMistakesInWorkflows(t *testing.T) {
	const bad = `
on: [pull_request]
env: {A: "${{ secrets.A }}"}
jobs:
  build:
    env: {A: "${{ github.token }}"}
    steps:
      - uses: actions/checkout@v4
      - run: curl example.org | sh
      - run: scripts/mage release:nothing
      - run: scripts/mage release; rm -rf /
      - run: scripts/mage ci:keys
        env: {A: "${{ secrets.A }}"}
  other:
    container: {image: "debian:latest"}
    timeout-minutes: 1
    permissions: {contents: write}
    steps:
      - uses: actions/cache@0123456789012345678901234567890123456789
        with: {path: .cache, key: always}
      - uses: actions/upload-artifact@0123456789012345678901234567890123456789
        with: {path: .}
      - uses: actions/upload-pages-artifact@0123456789012345678901234567890123456789
        with: {path: ./_output}
      - run: scripts/mage ci:shard "$PART"
        if: github.actor == 'dependabot[bot]'
        env: {A: "${{ toJSON(secrets) }}"}
  third:
    runs-on: [self-hosted]
    timeout-minutes: 1
    permissions: {}
`
	want := []string{
		"all jobs get a secret",
		"build: all steps get a secret",
		"build: actions/checkout@v4: not pinned by a commit",
		"build: curl example.org | sh: wanted one target of scripts/mage",
		"build: keys are left",
		"build: no permissions or no time limit",
		"build: pull requests see a secret",
		"build: scripts/mage ci:keys: a secret without the environment that guards it",
		"other: debian:latest: wanted an image with a version",
		"build: scripts/mage release:nothing: wanted one target of scripts/mage",
		"build: scripts/mage release; rm -rf /: wanted one target of scripts/mage",
		"build: the token is left in the checkout",
		"jobs get permissions that they do not name",
		"other: .: wanted one of the directories that results go to",
		"other: ./_output: wanted one of the directories that results go to",
		"github.actor: others decide what it is",
		`other: scripts/mage ci:shard "$PART": a secret without the environment that guards it`,
		"other: pull requests see a secret",
		"third: it runs elsewhere, with what is there",
		"other: actions/cache@0123456789012345678901234567890123456789: what is built, or kept by other runs, gets a token that may write",
		"other: pull requests may write",
		`other: scripts/mage ci:shard "$PART": what is built, or kept by other runs, gets a token that may write`,
		"other: the key of a cache is no digest of what it is for",
		"two runs may be in each other's way",
	}
	got := mistakes(t, []byte(bad), targets(t))
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := mistakes(t, []byte("on: {push: {tags: [x]}}\npermissions: {}\nconcurrency: {group: x}\n"), ""); !slices.Contains(got, "of tags that wait for each other, only the last gets its run") {
		t.Errorf("tags: %q", got)
	}
	for _, event := range []string{"pull_request_target", "workflow_run"} {
		got := mistakes(t, []byte("on: ["+event+"]\npermissions: {}\nconcurrency: {group: x}\n"), "")
		if !slices.Contains(got, "others' code may get our token") {
			t.Errorf("%s: %q", event, got)
		}
	}
}

func TestVersionsOfWorkflows(t *testing.T) {
	dir := t.TempDir()
	chosen := func(environ ...string) setup.Options {
		return options(t, append(environ, "ARCH=amd64", "GITHUB_ENV="+filepath.Join(dir, "env"), "GITHUB_OUTPUT="+filepath.Join(dir, "output"))...)
	}
	var out bytes.Buffer
	at := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	if err := NightlyVersion(chosen(), at, &out); err != nil {
		t.Fatal(err)
	}
	if err := TagVersion(chosen("GITHUB_REF_NAME=1.2.3-amd64"), &out); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"env": "VERSION=9999.0.0+nightly-20260102-0304\nVERSION=1.2.3\n", "output": "version=9999.0.0+nightly-20260102-0304\nversion=1.2.3\n",
	} {
		if set, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(set) != want {
			t.Errorf("set %q, %v", set, err)
		}
	}
	if out.String() != "9999.0.0+nightly-20260102-0304\n1.2.3\n" {
		t.Errorf("printed %q", &out)
	}
	if err := NightlyVersion(chosen("VERSION=1.2"), at, &out); err == nil || !strings.Contains(err.Error(), "VERSION: ") {
		t.Errorf("error is %v", err)
	}
	for _, tag := range []string{"", "1.2.3", "1.2.3-arm64", "v1-amd64", "main", "../x-amd64"} {
		if err := TagVersion(chosen("GITHUB_REF_NAME="+tag), &out); err == nil || !strings.Contains(err.Error(), "wanted a tag such as 9999.0.0-amd64") {
			t.Errorf("%s: error is %v", tag, err)
		}
	}
}
