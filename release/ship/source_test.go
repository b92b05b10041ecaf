package ship

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/release/setup"
)

func TestSource(t *testing.T) {
	needs.Programs(t, "git")
	var log strings.Builder
	dir := t.TempDir()
	s := &Shipper{Bench: &setup.Bench{Log: slog.New(slog.NewTextHandler(&log, nil))}, Checkout: dir}
	if got := s.source(t.Context()); got != nil {
		t.Errorf("what is no clone has the commit %+v", got)
	}
	do := func(args ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	do("init", "--quiet")
	write("file", "1")
	write(".gitignore", "ignored\n")
	do("add", ".")
	do("commit", "--quiet", "-m", "one")
	commit := do("rev-parse", "HEAD")
	write("ignored", "x")
	if got := s.source(t.Context()); got == nil || got.Commit != commit || got.Dirty {
		t.Errorf("a clean clone has %+v; wanted %s", got, commit)
	}
	for _, name := range []string{"file", "new"} {
		write(name, "2")
		if got := s.source(t.Context()); got == nil || got.Commit != commit || !got.Dirty {
			t.Errorf("with %s changed, it is %+v", name, got)
		}
		do("stash", "--quiet", "--include-untracked")
	}
	write(".git/HEAD", "nothing")
	if got := s.source(t.Context()); got != nil || !strings.Contains(log.String(), "does not name its commit") {
		t.Errorf("a broken clone has %+v: %s", got, &log)
	}
}
