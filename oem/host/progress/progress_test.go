package progress

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

func TestPlainLines(t *testing.T) {
	var out bytes.Buffer
	d := New(&out)
	step := d.Items("recipes", 3)
	step.Add(1)
	step.Grow(1)
	step.End()
	d.Items("nothing", 0).End()
	log := d.Logger(slog.LevelInfo).With("arch", "amd64")
	log.Debug("not shown")
	log.Info("assembling", "suite", "trixie")
	log.Warn("stale")
	downloads := NewDownloads(d)
	w := downloads.Start("a.deb", 10)
	if _, err := w.Write(make([]byte, 10)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	downloads.End()
	downloads.End()
	want := []string{
		`^ +\d+\.\ds  recipes done in \d+\.\ds$`,
		`^ +\d+\.\ds  assembling arch=amd64 suite=trixie$`,
		`^ +\d+\.\ds  warn: stale arch=amd64$`,
		`^ +\d+\.\ds  downloads done in \d+\.\ds$`,
	}
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	for i := range want {
		line := got[i]
		if i == 0 {
			line = "  " + line // trimmed above
		}
		if !regexp.MustCompile(want[i]).MatchString(line) {
			t.Errorf("line %q; want %s", line, want[i])
		}
	}
}

// TestForeignText says that a server's words cannot reach the terminal or the runner's parser of commands.
func TestForeignText(t *testing.T) {
	var out bytes.Buffer
	New(&out).Logger(slog.LevelInfo).Warn("no answer", "error", "HTTP 500 \x1b]0;title\a\n::error::x")
	if got, want := out.String(), `HTTP 500 \x1b]0;title\a`+"\n"+`\x3a:error::x`+"\n"; !strings.HasSuffix(got, want) {
		t.Errorf("log has %q; wanted it to end with %q", got, want)
	}
}
