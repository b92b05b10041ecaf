package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/setup"
)

func TestErrorsAreSafeToPrint(t *testing.T) {
	cause := errors.New("script: exit status 1\n\x1b[2J::error::\n::add-mask::x")
	err := With(t.Context(), func(context.Context, setup.Options) error { return cause })
	if !errors.Is(err, cause) || err.Error() != "script: exit status 1\n\\x1b[2J::error::\n\\x3a:add-mask::x" {
		t.Errorf("error is %q", err)
	}
}

// TestSignals says that a run that was told to end does not end well, gets the chance to clean up, and says one sentence.
func TestSignals(t *testing.T) {
	for s, status := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		cleaned := false
		err := With(t.Context(), func(ctx context.Context, _ setup.Options) error {
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
			cleaned = true
			return fmt.Errorf("sh: signal: terminated: %w", ctx.Err())
		})
		var known interface{ ExitStatus() int }
		if !errors.As(err, &known) || known.ExitStatus() != status || !cleaned {
			t.Fatalf("%v: error is %v; wanted the status %d", s, err, status)
		}
		if text := err.Error(); !strings.HasSuffix(text, "; run again to go on") || strings.ContainsAny(text, ":\n") {
			t.Errorf("%v: error is %q", s, text)
		}
	}
}

func TestWorkThatEndsAllTheSame(t *testing.T) {
	err := With(t.Context(), func(ctx context.Context, _ setup.Options) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Errorf("error is %v", err)
	}
}

// TestCommands says that command lines are shown to those who ask: when a program begins, and for every one that failed.
func TestCommands(t *testing.T) {
	stderr := os.Stderr
	t.Cleanup(func() { os.Stderr = stderr })
	for _, verbose := range []string{"", "1"} {
		t.Setenv("VERBOSE", verbose)
		shown, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		os.Stderr = shown
		err = With(t.Context(), func(ctx context.Context, _ setup.Options) error {
			fail := func(words string) error {
				return run.Run(ctx, run.Cmd{Program: "/bin/sh", Name: "build.sh", Args: []string{"-c", "echo " + words + " >&2; exit 3"}})
			}
			return errors.Join(fmt.Errorf("recipe.yaml:3: %w", fail("disk on fire")), fail("tape torn"))
		})
		want := "recipe.yaml:3: disk on fire\nbuild.sh: exit status 3\ntape torn\nbuild.sh: exit status 3"
		if verbose != "" {
			want += "\ncommand: /bin/sh -c echo disk on fire >&2; exit 3\ncommand: /bin/sh -c echo tape torn >&2; exit 3"
		}
		if err == nil || err.Error() != want {
			t.Errorf("VERBOSE=%s: error is %q; wanted %q", verbose, err, want)
		}
		lines, err := os.ReadFile(shown.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Count(string(lines), "s  /bin/sh -c echo "), 2*len(verbose); got != want {
			t.Errorf("VERBOSE=%s: %d lines of %q are command lines; wanted %d", verbose, got, lines, want)
		}
	}
}

// TestRefused says that what does not fit ends with 3, and leaves a report and a summary.
func TestRefused(t *testing.T) {
	output, summary := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "summary")
	t.Setenv("OUTPUT", output)
	t.Setenv("GITHUB_STEP_SUMMARY", summary)
	err := With(t.Context(), func(context.Context, setup.Options) error {
		return fmt.Errorf("plan: %w", &plan.OverBudgetError{
			Cause:    errors.New("images has 1 B and needs 3 B"),
			Smallest: []fit.Smallest{{Name: "oem-a", Taken: fit.Taken{Cost: 2}}, {Name: "oem-b", Taken: fit.Taken{Cost: 1}}},
		})
	})
	var known interface{ ExitStatus() int }
	if !errors.As(err, &known) || known.ExitStatus() != plan.ExitOverBudget || !strings.Contains(err.Error(), "over-budget.md") {
		t.Errorf("error is %v; wanted one with the status 3 that names the report", err)
	}
	for _, file := range []string{filepath.Join(output, "over-budget.md"), summary} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"images has 1 B and needs 3 B", "| `oem-a` | 2 B | 66.7 % | - |", "To make room"} {
			if !strings.Contains(string(content), want) {
				t.Errorf("%s: %q is not in %s", file, want, content)
			}
		}
	}
}

// TestHints says what to do about a full disk, told by the system or by a program, and about a network that is cut.
func TestHints(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	for want, errs := range map[string][]error{
		"A disk is full: make room where CACHE": {fmt.Errorf("blob: %w", full), &run.Error{Program: "cp", Stderr: "cp: x: No space left on device", Err: errors.New("exit status 1")}},
		"Check the network":                     {fmt.Errorf("index: %w: timeout", fetch.ErrUnreachable)},
	} {
		for _, cause := range errs {
			err := With(t.Context(), func(context.Context, setup.Options) error { return cause })
			lines := strings.Split(err.Error(), "\n")
			if !errors.Is(err, cause) || !strings.HasPrefix(lines[len(lines)-1], want) {
				t.Errorf("error is %q; wanted one that ends with %q", err, want)
			}
		}
	}
	if err := With(t.Context(), func(context.Context, setup.Options) error { return errors.New("wrong") }); err.Error() != "wrong" {
		t.Errorf("error is %q", err)
	}
}
