package ci

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/release/care"
	"github.com/flatcar/oem-sysext/release/publish/github/githubtest"
)

// gitIn runs git as somebody who works on a repository.
func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.org",
		"GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.org", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestPropose has a repository as GitHub keeps one, a clone of it, and the stand-in for the API.
func TestPropose(t *testing.T) {
	needs.Programs(t, "git")
	origin, clone := filepath.Join(t.TempDir(), "origin.git"), t.TempDir()
	gitIn(t, clone, "init", "--quiet", "--bare", "--initial-branch=main", origin)
	gitIn(t, clone, "clone", "--quiet", origin, ".")
	write := func(name, content string) {
		path := filepath.Join(clone, "recipes", name, "recipe.yaml")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("chrony", "version: 1\n")
	write("waagent", "version: 1\n")
	gitIn(t, clone, "add", ".")
	gitIn(t, clone, "commit", "--quiet", "-m", "recipes")
	gitIn(t, clone, "push", "--quiet", "origin", "HEAD:main")

	s := githubtest.New(t)
	s.Branches = func(name string) bool {
		return exec.CommandContext(t.Context(), "git", "-C", origin, "rev-parse", "--verify", "--quiet", "refs/heads/"+name).Run() == nil
	}
	o := options(t, github.EnvAPI+"="+s.URL+"/api/v3", github.EnvServer+"="+s.URL, github.EnvToken+"="+githubtest.Token,
		"GITHUB_REPOSITORY="+githubtest.Repository)
	o.Checkout = clone
	p, err := newProposer(o)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	bump := func(name, to string) error {
		t.Helper()
		if err := p.isClean(t.Context()); err != nil {
			t.Fatal(err)
		}
		write(name, "version: "+to+"\n")
		err := p.propose(t.Context(), name, "recipes/"+name, []care.Bumped{{Recipe: name, Name: "example.org/" + name, From: "1", To: to}}, &out)
		gitIn(t, clone, "reset", "--quiet", "--hard")
		return err
	}
	if err := bump("chrony", "1"); err != nil || len(s.Items()) != 0 {
		t.Errorf("nothing newer: %v, %v", s.Items(), err)
	}
	for _, to := range []string{"2", "3", "3"} {
		if err := bump("chrony", to); err != nil {
			t.Fatal(err)
		}
	}
	if err := bump("waagent", "2"); err != nil {
		t.Fatal(err)
	}
	items := s.Items()
	if len(items) != 2 || items[0].Head != "bump/chrony" || items[0].Title != "chrony: chrony 3" || !strings.Contains(items[0].Body, "| chrony | example.org/chrony | 1    | 3   |") || items[1].Head != "bump/waagent" {
		t.Errorf("proposed %+v", items)
	}
	for branch, want := range map[string]string{"bump/chrony": "recipes/chrony/recipe.yaml", "bump/waagent": "recipes/waagent/recipe.yaml"} {
		if changed := gitIn(t, origin, "diff", "--name-only", "main..."+branch); changed != want {
			t.Errorf("%s changes %q; wanted %q", branch, changed, want)
		}
		if commits := gitIn(t, origin, "rev-list", "--count", "main.."+branch); commits != "1" {
			t.Errorf("%s has %s commits", branch, commits)
		}
	}
	if content := gitIn(t, origin, "show", "bump/chrony:recipes/chrony/recipe.yaml"); content != "version: 3" {
		t.Errorf("the branch has %q", content)
	}
	if head := gitIn(t, clone, "rev-parse", "--abbrev-ref", "HEAD"); head != "main" {
		t.Errorf("the checkout is on %s", head)
	}

	// The same again is the same commit, and one on top of a newer main replaces it.
	before := gitIn(t, origin, "rev-parse", "bump/chrony")
	gitIn(t, clone, "commit", "--quiet", "--allow-empty", "-m", "news")
	if err := bump("chrony", "3"); err != nil {
		t.Fatal(err)
	}
	if after := gitIn(t, origin, "rev-parse", "bump/chrony"); after == before {
		t.Error("the branch stays behind main")
	}

	// What a person added stays.
	gitIn(t, clone, "fetch", "--quiet", "origin", "bump/waagent")
	gitIn(t, clone, "checkout", "--quiet", "--detach", "FETCH_HEAD")
	gitIn(t, clone, "commit", "--quiet", "--allow-empty", "-m", "a fix")
	gitIn(t, clone, "push", "--quiet", "origin", "HEAD:bump/waagent")
	gitIn(t, clone, "checkout", "--quiet", "main")
	fixed := gitIn(t, origin, "rev-parse", "bump/waagent")
	if err := bump("waagent", "3"); err == nil || !strings.Contains(err.Error(), "ends with a commit of dev@example.org") {
		t.Errorf("error is %v", err)
	}
	if after := gitIn(t, origin, "rev-parse", "bump/waagent"); after != fixed {
		t.Error("a person's commit is gone")
	}

	write("chrony", "version: 9\n")
	if err := p.isClean(t.Context()); err == nil || !strings.Contains(err.Error(), "recipes/chrony/recipe.yaml") {
		t.Errorf("error is %v", err)
	}
	if strings.Contains(out.String(), githubtest.Token) {
		t.Errorf("the token shows: %s", &out)
	}
}
