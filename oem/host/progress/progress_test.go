package progress

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlainLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(&out)
		short := d.Items("recipes", 3)
		short.Add(3)
		short.Grow(1)
		short.Add(1)
		short.End()
		d.Items("nothing", 0).End()
		d.Task("nothing that takes time").End()
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
		want := `   0.0s  recipes done in 0.0s
   0.0s  assembling arch=amd64 suite=trixie
   0.0s  warn: stale arch=amd64
   0.0s  downloads done in 0.0s
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestLongSteps says that no long step is silent, and that none says more than it has to.
func TestLongSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := New(&out)
		recipes := d.Items("recipes", 8)
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			defer recipes.On(name)()
		}
		time.Sleep(time.Second)
		task := d.Task("embedding")
		downloads := NewDownloads(d)
		w := downloads.Start("big.tar", 4096)
		time.Sleep(time.Second)
		fmt.Fprint(w, "12345678")
		if err := w.Close(); err != nil { // from now on there is nothing to say about downloads
			t.Fatal(err)
		}
		recipes.Add(1)
		time.Sleep(time.Minute)
		downloads.End()
		task.Stop()
		recipes.End()
		want := `   0.5s  recipes: 0 of 8; now a, b, c, d and 2 more
   1.5s  embedding
   1.5s  downloads: 0 B of 4.0 KiB; now big.tar
  30.5s  recipes: 1 of 8; now a, b, c, d and 2 more
  31.5s  embedding
  60.5s  recipes: 1 of 8; now a, b, c, d and 2 more
  61.5s  embedding
  62.0s  downloads done in 61.0s
  62.0s  embedding: stopped after 61.0s
  62.0s  recipes: stopped at 1 of 8 after 62.0s
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestTerminal looks at what is on a narrow terminal, and that nothing is left of what was drawn.
func TestTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s screen
		d := New(&s)
		d.screen = func() (int, int, error) { return 20, 4, nil }
		recipes, packing := d.Items("recipes", 3), d.Bytes("payload", 0)
		defer recipes.On("azure-agent")()
		packing.Add(2048)
		looks := func(want string) {
			t.Helper()
			if diff := cmp.Diff(want, s.String()); diff != "" {
				t.Error(diff)
			}
		}
		looks("")
		time.Sleep(800 * time.Millisecond)
		looks("     1s  recipes: 0\n     1s  payload: 2\n")
		for _, name := range []string{"more", "and more", "than fits"} {
			d.Task(name)
		}
		d.Say("note\x1b[2J")
		looks("   0.8s  note\\x1b[2J\n     1s  recipes: 0\n     1s  payload: 2\n")
		time.Sleep(time.Second)
		looks("   0.8s  note\\x1b[2J\n     2s  recipes: 0\n     2s  payload: 2\n     1s  more\n")
		packing.End()
		d.Close()
		looks("   0.8s  note\\x1b[2J\n   1.8s  payload done in 1.8s\n")
		time.Sleep(time.Second)
		recipes.End()
		looks("   0.8s  note\\x1b[2J\n   1.8s  payload done in 1.8s\n")
	})
}

// TestLeft says that lines tell what an earlier run still took from where this one is, and nothing where that is not known.
func TestLeft(t *testing.T) {
	past := Past{200, map[string]Span{"first 1": {0, 50}, "second 1": {50, 100}, "second 2": {100, 190}, "third 1": {190, 200}}}
	synctest.Test(t, func(t *testing.T) {
		var s screen
		d := New(&s)
		d.Expect(past)
		d.screen = func() (int, int, error) { return 80, 5, nil }
		for _, step := range []struct {
			name  string
			takes time.Duration
			left  string
		}{
			{"unknown", 2 * time.Second, ""},
			{"first", 20 * time.Second, "; about 3 min left"},
			{"second", 55 * time.Second, "; about 2 min left"}, // it takes longer than it did
			{"second", 10 * time.Second, "; about 90 s left"},
			{"second", time.Minute, ""},
			{"third", 6 * time.Second, ""},
		} {
			one, other := d.Task(step.name), d.Task("other")
			time.Sleep(step.takes)
			synctest.Wait()
			if lines := strings.Split(s.String(), "\n"); !strings.HasSuffix(lines[len(lines)-3], step.name+step.left) || !strings.HasSuffix(lines[len(lines)-2], "other") {
				t.Errorf("lines are %q; wanted %s with %q, and other", lines, step.name, step.left)
			}
			other.End()
			one.End()
		}
		if got := d.Passed(); got.Seconds != 153 || got.Steps["second 2"] != (Span{77, 87}) {
			t.Errorf("passed is %+v", got)
		}
		plain := New(&s)
		plain.Expect(past)
		plain.Task("first")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		plain.Close()
		if !strings.HasSuffix(s.String(), "  0.5s  first; about 3 min left\n  30.5s  first; about 3 min left\n") {
			t.Errorf("lines are %q", &s)
		}
	})
}

// screen is a terminal that knows how to go up and to clear what is below.
type screen struct{ bytes.Buffer }

func (s *screen) Write(p []byte) (int, error) {
	var up int
	if n, _ := fmt.Sscanf(string(p), "\x1b[%dA\r\x1b[J", &up); n == 1 {
		lines := strings.SplitAfter(s.String(), "\n")
		s.Reset()
		s.WriteString(strings.Join(lines[:len(lines)-1-up], ""))
		return len(p), nil
	}
	return s.Buffer.Write(p)
}

// TestForeignText says that a server's words cannot reach the terminal or the runner's parser of commands.
func TestForeignText(t *testing.T) {
	var out bytes.Buffer
	New(&out).Logger(slog.LevelInfo).Warn("no answer", "error", "HTTP 500 \x1b]0;title\a\n::error::x")
	if got, want := out.String(), `HTTP 500 \x1b]0;title\a`+"\n"+`\x3a:error::x`+"\n"; !strings.HasSuffix(got, want) {
		t.Errorf("log has %q; wanted it to end with %q", got, want)
	}
}
