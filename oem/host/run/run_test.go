package run

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestErrorCarriesStderr(t *testing.T) {
	err := Run(t.Context(), Cmd{Program: "/bin/sh", Args: []string{"-c", "echo disk on fire >&2; exit 3"}})
	var failed *Error
	var exit *exec.ExitError
	if !errors.As(err, &failed) || !errors.As(err, &exit) || exit.ExitCode() != 3 || failed.Stderr != "disk on fire" {
		t.Fatalf("error is %v", err)
	}
	if want := "disk on fire\n/bin/sh: exit status 3"; failed.Error() != want {
		t.Errorf("error is %q; wanted %q, without the command", failed, want)
	}
	if want := "/bin/sh -c echo disk on fire >&2; exit 3"; failed.Command() != want {
		t.Errorf("command is %q; wanted %q", failed.Command(), want)
	}
}

func TestWatched(t *testing.T) {
	var said []string
	watched := Watched(t.Context(), func(command string) { said = append(said, command) })
	for ctx, want := range map[context.Context]int{watched: 1, t.Context(): 0} {
		said = nil
		if err := Run(ctx, Cmd{Program: "/bin/true", Args: []string{"https://u:p@example.org", "x y"}}); err != nil {
			t.Fatal(err)
		}
		if len(said) != want || want == 1 && said[0] != "/bin/true https://…@example.org x y" {
			t.Errorf("said %q; wanted %d", said, want)
		}
	}
}

func TestNothingIsInherited(t *testing.T) {
	t.Setenv("SECRET", "hunter2")
	out, err := Output(t.Context(), Cmd{Program: "/usr/bin/env"})
	if err != nil || strings.Contains(string(out), "SECRET") {
		t.Errorf("environment is %q, %v", out, err)
	}
	out, _ = Output(t.Context(), Cmd{Program: "/usr/bin/env", Env: HostEnv("SECRET", "NO_SUCH_NAME")})
	if string(out) != "SECRET=hunter2\n" {
		t.Errorf("environment is %q", out)
	}
}

func TestCancelKillsGrandchildren(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var out strings.Builder
	err := Run(ctx, Cmd{Program: "/bin/sh", Args: []string{"-c", "/bin/sleep 600 & echo $!; wait"}, Stdout: &out})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error is %v", err)
	}
	mustEnd(t, strings.TrimSpace(out.String()))
}

func TestTailKeepsTheEnd(t *testing.T) {
	kept := &tail{limit: 4}
	for _, part := range []string{"ab", "cdef", "g"} {
		if n, err := kept.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if kept.String() != "defg" {
		t.Errorf("kept %q", kept)
	}
}

// TestKilledWithItsParent starts this test binary again, lets it start a program, and kills it.
func TestKilledWithItsParent(t *testing.T) {
	if os.Getenv("RUN_TEST_PARENT") != "" {
		t.Fatal(Run(t.Context(), Cmd{Program: "/bin/sh", Args: []string{"-c", "echo $$; exec sleep 600"}, Stdout: os.Stdout}))
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestKilledWithItsParent$")
	parent.Env = append(os.Environ(), "RUN_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := make([]byte, 16)
	n, err := out.Read(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	mustEnd(t, strings.TrimSpace(string(pid[:n])))
}

// mustEnd waits until a process is gone, or dead and not yet reaped by its new parent.
func mustEnd(t *testing.T, pid string) {
	t.Helper()
	status := filepath.Join("/proc", pid, "status")
	for range 50 {
		content, err := os.ReadFile(status)
		if err != nil || strings.Contains(string(content), "State:\tZ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %s still runs", pid)
}

func TestErrorShowsNoCredentials(t *testing.T) {
	const address = "https://user:hunter2@mirror.example.org/debian"
	err := Run(t.Context(), Cmd{Program: "sh", Args: []string{"-c", "echo cannot reach $0 >&2; exit 1", address}, Env: HostEnv("PATH")})
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	for _, text := range []string{failed.Error(), failed.Command()} {
		if strings.Contains(text, "hunter2") || strings.Count(text, "https://…@mirror.example.org/debian") != 1 {
			t.Errorf("text is %q", text)
		}
	}
}
