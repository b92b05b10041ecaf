package proof

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/needs"
)

// told is a proof of a machine that is sound, one that fails an assertion, and one that does not answer.
func told() *Proof {
	return &Proof{Base: "trixie", Version: "1.2.3", Arch: "amd64", Machines: []Machine{
		{Platform: "azure", Seconds: 61.5, Outcomes: []Outcome{{"the system is up", ""}, {"issue #1 is <mended> & \\done", ""}}},
		{Platform: "gce", Step: "after the update", Seconds: 2, Outcomes: []Outcome{{"no unit failed", "failed units: \"a\"\nok 7 - b\x1b[2J"}}},
		{Platform: "ami", Error: "no report"},
	}}
}

func TestWriteTAP(t *testing.T) {
	var got bytes.Buffer
	if err := told().WriteTAP(&got); err != nil {
		t.Fatal(err)
	}
	want := `TAP version 13
1..4
ok 1 - azure: the system is up
ok 2 - azure: issue \#1 is <mended> & \\done
not ok 3 - gce, after the update: no unit failed
# failed units: "a"
# ok 7 - b\x1b[2J
not ok 4 - ami: the machine answers
# no report
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
	// Perl's reader says the same.
	needs.Programs(t, "prove")
	sound := told()
	sound.Machines = sound.Machines[:1]
	for _, c := range []struct {
		proof  *Proof
		status int
		says   string
	}{{told(), 1, "Failed tests:  3-4"}, {sound, 0, "Tests=2"}} {
		path := filepath.Join(t.TempDir(), "proof.tap")
		var tap bytes.Buffer
		if err := c.proof.WriteTAP(&tap); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, tap.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), "prove", "--exec", "cat", path)
		out, err := command.CombinedOutput()
		if command.ProcessState.ExitCode() != c.status || !strings.Contains(string(out), c.says) || strings.Contains(string(out), "Parse errors") {
			t.Errorf("prove: %v; wanted status %d and %q\n%s", err, c.status, c.says, out)
		}
	}
}

func TestWriteJUnit(t *testing.T) {
	var got bytes.Buffer
	if err := told().WriteJUnit(&got); err != nil {
		t.Fatal(err)
	}
	want := `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="trixie 1.2.3 amd64" tests="4" failures="2">
  <testsuite name="azure" tests="2" failures="0" time="61.500">
    <testcase classname="azure" name="the system is up"></testcase>
    <testcase classname="azure" name="issue #1 is &lt;mended&gt; &amp; \done"></testcase>
  </testsuite>
  <testsuite name="gce, after the update" tests="1" failures="1" time="2.000">
    <testcase classname="gce" name="no unit failed">
      <failure message="failed units: &#34;a&#34;">failed units: &#34;a&#34;&#xA;ok 7 - b\x1b[2J</failure>
    </testcase>
  </testsuite>
  <testsuite name="ami" tests="1" failures="1" time="0.000">
    <testcase classname="ami" name="the machine answers">
      <failure message="no report">no report</failure>
    </testcase>
  </testsuite>
</testsuites>
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}
