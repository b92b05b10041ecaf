package scripts

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/needs"
)

// checkout is a small one that has the script, and targets of its own.
type checkout struct{ dir string }

func newCheckout(t *testing.T) checkout {
	t.Helper()
	needs.Programs(t, "git", "mmdebstrap", "bwrap", "unshare", "mount", "flock")
	c := checkout{t.TempDir()}
	for _, name := range []string{"go.mod", "go.sum", "scripts/mage"} {
		content, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		c.write(t, name, string(content))
	}
	c.write(t, "magefiles/magefile.go", `//go:build mage

package main

import (
	"fmt"

	"github.com/flatcar/oem-sysext/oem/word"
)

// Say says it.
func Say() { fmt.Println(word.Spoken + word.Written) }

type tooLarge struct{ error }

func (tooLarge) ExitStatus() int { return 3 }

// Fit fails.
func Fit() error { return tooLarge{fmt.Errorf("too large")} }
`)
	c.write(t, "oem/word/word.go", wordSaying("one"))
	c.write(t, "oem/word/word.txt", " and all")
	c.write(t, "release/release.go", "package release\n")
	return c
}

func wordSaying(word string) string {
	return "package word\n\nimport _ \"embed\"\n\nconst Spoken = \"" + word + "\"\n\n//go:embed word.txt\nvar Written string\n"
}

func (c checkout) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// mage runs the script and returns what it printed, whether it compiled, and its exit code.
func (c checkout) mage(t *testing.T, args ...string) (printed string, compiled bool, code int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(c.dir, "scripts/mage"), args...)
	cmd.Env = append(os.Environ(), "INSTALL=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("scripts/mage %s: %s", strings.Join(args, " "), stderr.String())
	return stdout.String(), strings.Contains(stderr.String(), "compiling"), cmd.ProcessState.ExitCode()
}

// Targets are compiled when something in them has changed, and only then.
func TestTargetsAreThoseOfTheSources(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	for _, step := range []struct {
		name, file, content string
		compiled            bool
		printed             string
	}{
		{"first", "", "", true, "one and all\n"},
		{"again", "", "", false, "one and all\n"},
		{"test", "oem/word/word_test.go", "package word\n", false, "one and all\n"},
		{"data", "recipes/some/recipe.yaml", "name: some\n", false, "one and all\n"},
		{"source", "oem/word/word.go", wordSaying("two"), true, "two and all\n"},
		{"embedded", "oem/word/word.txt", " and none", true, "two and none\n"},
		{"back", "oem/word/word.txt", " and all", false, "two and all\n"},
	} {
		if step.file != "" {
			c.write(t, step.file, step.content)
		}
		printed, compiled, _ := c.mage(t, "say")
		if printed != step.printed || compiled != step.compiled {
			t.Errorf("%s: printed %q, compiled: %v; wanted %q, %v", step.name, printed, compiled, step.printed, step.compiled)
		}
	}
	if _, _, code := c.mage(t, "fit"); code != 3 {
		t.Errorf("exit code %d of a target that fails with 3", code)
	}
	if printed, _, _ := c.mage(t, "-h", "say"); !strings.Contains(printed, "\tmage say\n") {
		t.Errorf("help is %q", printed)
	}
	if printed, _, _ := c.mage(t, "-version"); !strings.HasPrefix(printed, "Mage Build Tool") {
		t.Errorf("an option of mage alone prints %q", printed)
	}
}

// Runs at the same time compile once.
func TestTargetsAtTheSameTime(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	var compiled [2]bool
	var both sync.WaitGroup
	for i := range compiled {
		both.Go(func() {
			printed, did, code := c.mage(t, "say")
			if printed != "one and all\n" || code != 0 {
				t.Errorf("printed %q and exited with %d", printed, code)
			}
			compiled[i] = did
		})
	}
	both.Wait()
	if compiled[0] == compiled[1] {
		t.Errorf("compiled: %v; wanted one to compile and the other to wait for it", compiled)
	}
}

// The script knows every directory that something can be compiled from.
func TestSourcesAreInTheDigest(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("mage")
	if err != nil {
		t.Fatal(err)
	}
	sources := regexp.MustCompile(`(?m)^sources='(.*)'$`).FindSubmatch(script)
	if sources == nil {
		t.Fatal("no line of the script begins with sources=")
	}
	list, err := exec.Command("go", "list", "-tags=mage", "-f", `{{with .GoFiles}}{{$.Dir}}{{end}}`, "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range strings.Fields(string(list)) {
		below, _, _ := strings.Cut(strings.TrimPrefix(dir, root+"/"), "/")
		if !slices.Contains(strings.Fields(string(sources[1])), below) {
			t.Errorf("%s is not below the script's sources, %s", dir, sources[1])
		}
	}
}
