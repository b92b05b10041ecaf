package ci

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/github/githubtest"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// options returns what an environment chooses, and says nothing.
func options(t *testing.T, environ ...string) setup.Options {
	t.Helper()
	o, err := setup.Read("../../..", environ)
	if err != nil {
		t.Fatal(err)
	}
	o.Progress, o.Log = progress.New(io.Discard), slog.New(slog.DiscardHandler)
	return o
}

// TestReportNight tells of three nights, of which the last is good.
func TestReportNight(t *testing.T) {
	s, output := githubtest.New(t), t.TempDir()
	tonight := func(needs string) setup.Options {
		return options(t, "GITHUB_API_URL="+s.URL+"/api/v3", "GITHUB_SERVER_URL="+s.URL, "GITHUB_TOKEN="+githubtest.Token,
			"GITHUB_REPOSITORY="+githubtest.Repository, "GITHUB_RUN_ID=42", "NEEDS="+needs, "OUTPUT="+output)
	}
	o := tonight("")
	if err := ReportNight(t.Context(), o, io.Discard); err == nil || !strings.Contains(err.Error(), `NEEDS=""; wanted`) {
		t.Errorf("error is %v", err)
	}
	if err := os.MkdirAll(proofs(o), 0o755); err != nil {
		t.Fatal(err)
	}
	part := `{"schema": 1, "machines": [{"platform": "azure", "error": "it | hangs"}]}`
	if err := os.WriteFile(filepath.Join(proofs(o), "1-of-1.json"), []byte(part), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, needs := range []string{
		`{"build": {"result": "success", "outputs": {}}, "prove": {"result": "failure"}}`,
		`{"build": {"result": "failure"}, "prove": {"result": "skipped"}}`,
	} {
		if err := ReportNight(t.Context(), tonight(needs), io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	items := s.Items()
	if len(items) != 1 || items[0].State != "open" {
		t.Fatalf("there are %+v", items)
	}
	for _, says := range []string{s.URL + "/owner/tools/actions/runs/42", "| `build` | failure |", "| `azure` | 0 | 0 s | 0 of 0 | `it \\| hangs` |"} {
		if !strings.Contains(items[0].Body, says) {
			t.Errorf("the issue does not say %q:\n%s", says, items[0].Body)
		}
	}
	good := tonight(`{"build": {"result": "success"}, "prove": {"result": "success"}}`)
	if err := ReportNight(t.Context(), good, io.Discard); err != nil || s.Items()[0].State != "closed" {
		t.Errorf("%+v, %v", s.Items(), err)
	}
}

// TestSummarize tells a workflow what a release has, and what was proven of it.
func TestSummarize(t *testing.T) {
	output := t.TempDir()
	file := filepath.Join(output, "summary")
	o := options(t, "OUTPUT="+output, "VERSION=1.2.3", "GITHUB_STEP_SUMMARY="+file)
	if err := os.MkdirAll(o.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		manifest.ReportMarkdownFile: "# Report\n", verify.ProofName: `{"schema": 1, "version": "1.2.3", "machines": [{"platform": "azure"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(o.Dir(), name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := Summarize(o); err != nil {
		t.Fatal(err)
	}
	if summary, err := os.ReadFile(file); err != nil || !strings.Contains(string(summary), "# Report") || !strings.Contains(string(summary), "### Proof") {
		t.Errorf("the summary is %s, %v", summary, err)
	}
	if err := Summarize(options(t, "OUTPUT="+t.TempDir())); err != nil {
		t.Errorf("where there is no summary: %v", err)
	}
}
