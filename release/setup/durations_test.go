package setup

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/progress"
)

// run runs a target with one step, and returns what its progress says.
func run(t *testing.T, cache, target string, takes time.Duration) string {
	t.Helper()
	var said bytes.Buffer
	o := Options{Cache: cache, Progress: progress.New(&said)}
	o.ExpectDuration([]string{target})
	step := o.Progress.Task("step")
	time.Sleep(takes)
	step.End()
	if err := o.KeepDuration([]string{target}); err != nil {
		t.Fatal(err)
	}
	return said.String()
}

func TestDurations(t *testing.T) {
	cache := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			target string
			takes  time.Duration
			says   string
		}{
			{"release", time.Minute, ""},
			{"fit", time.Minute, ""},
			{"release", 9 * time.Second, "about 60 s left"}, // and says nothing about the next one
			{"release", 2 * time.Minute, "about 60 s left"},
			{"release", time.Second, "about 2 min left"},
		} {
			said := run(t, cache, c.target, c.takes)
			if c.says == "" && strings.Contains(said, "left") || !strings.Contains(said, c.says) {
				t.Errorf("%s for %v says %q; wanted %q", c.target, c.takes, said, c.says)
			}
		}
		for _, damaged := range []string{"{", "null", "[]"} {
			if err := os.WriteFile(filepath.Join(cache, durationsFile), []byte(damaged), 0o600); err != nil {
				t.Fatal(err)
			}
			if said := run(t, cache, "release", time.Minute); strings.Contains(said, "left") {
				t.Errorf("%s: says %q", damaged, said)
			}
		}
	})
}
