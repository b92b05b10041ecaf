package check

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// failures runs commands in the merged system and returns how they failed, by command.
func (w *world) failures(commands ...Command) map[string]string {
	w.Helper()
	needs.Root(w)
	needs.Programs(w, Programs()...)
	results, err := store.OpenResults(w.TempDir(), w.blobs, nil)
	if err != nil {
		w.Fatal(err)
	}
	checker, err := New(w.base, w.blobs, results, w.scratch)
	if err != nil {
		w.Fatal(err)
	}
	found, err := checker.Works(w.Context(), tree.Sorted(w.image).WithParents(nil), commands)
	if err != nil {
		w.Fatal(err)
	}
	by := map[string]string{}
	for _, failure := range found {
		by[commands[failure.Command].Run] = failure.Text
	}
	return by
}

// TestWorks says which commands work, and how the others fail.
func TestWorks(t *testing.T) {
	w := newWorld(t)
	w.file("/usr/bin/agent", "#!/bin/sh\necho agent 1.0\ntrue\n")
	w.file("/usr/bin/elsewhere", "#!/bin/sh\ncat /usr/share/oem/agent.conf\n")
	w.file("/usr/bin/bundle", "#!/bin/sh\ncat /etc/ssl/certs/ca-certificates.crt\n")
	w.file("/usr/bin/writer", "#!/bin/sh\necho unit >/usr/lib/systemd/system/agent.service\n")
	w.file("/usr/lib/sysusers.d/agent.conf", "u agent - \"Agent\"\n")
	got := w.failures(
		Command{"agent", "agent 1.0"}, Command{"agent -v", "agent 2"},
		Command{"id agent", "agent"}, Command{"elsewhere", ""}, Command{"bundle", ""}, Command{"writer", ""}, Command{"gone", ""}, Command{"exit 3", ""},
		Command{"read x || echo end", "end"}, Command{"touch /etc/x /var/x /tmp/x", ""}, Command{"test ! -e /etc/x", ""},
		Command{"ls " + w.scratch, ""}, Command{"cat /proc/net/dev | grep -v lo: | grep :", ""}, Command{"head -c 2000000 /dev/zero", ""},
	)
	for command, text := range got {
		got[command], _, _ = strings.Cut(text, ": ")
		if strings.Contains(text, "Read-only") {
			got[command] += ": read-only"
		}
	}
	want := map[string]string{
		"agent -v":                  `its output lacks "agent 2"`,
		"elsewhere":                 "it ends with status 1",
		"bundle":                    "it ends with status 1",
		"writer":                    "it ends with status 2: read-only",
		"gone":                      "it ends with status 127",
		"exit 3":                    "it ends with status 3 and says nothing",
		"ls " + w.scratch:           "it ends with status 2",
		"head -c 2000000 /dev/zero": "it prints more than 1048576 bytes",
		"cat /proc/net/dev | grep -v lo: | grep :": "it ends with status 1 and says nothing",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestWorksElsewhere says that programs of another architecture are not run, and that the verdict is kept.
func TestWorksElsewhere(t *testing.T) {
	w := newWorld(t)
	w.base.Arch = "arm64"
	if got := w.failures(Command{Run: "exit 1"}); len(got) > 0 {
		t.Errorf("a program of another architecture was run: %v", got)
	}
}

func TestWorksThatIsCancelled(t *testing.T) {
	needs.Root(t)
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results, err := store.OpenResults(t.TempDir(), w.blobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	checker, err := New(w.base, w.blobs, results, w.scratch)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := checker.Works(ctx, nil, []Command{{Run: "true"}}); err == nil {
		t.Errorf("a run that was cancelled found %v", found)
	}
}

func TestVerdictOfOutput(t *testing.T) {
	for _, c := range []struct{ out, says, want string }{
		{"agent 1\n\n0\n", "agent", ""},
		{"\n0\n", "", ""},
		{"a\nb\n\n1\n", "", "it ends with status 1: b"},
		{"5\n\n0\n", "6", `its output lacks "6": 5`},
	} {
		if got, err := judgeOutput(c.out, c.says); got != c.want || err != nil {
			t.Errorf("%q: %q, %v; wanted %q", c.out, got, err, c.want)
		}
	}
	for _, broken := range []string{"", "\n", "agent\nagent\n"} {
		if got, err := judgeOutput(broken, ""); err == nil {
			t.Errorf("%q: %q", broken, got)
		}
	}
	if got := Verdict(1, strings.Repeat("x", 1000), ""); len(got) > 400 || !slices.Contains([]byte(got), 'x') {
		t.Errorf("%d bytes of output are shown", len(got))
	}
}
