package ci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/publish"
	"github.com/flatcar/oem-sysext/release/publish/github/tracker"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/report"
)

// failureTitle is what the one issue is known by.
const failureTitle = "The nightly build fails"

// ReportNight opens or changes the one issue that says what failed in a run of a workflow, with a table of its jobs and of the
// machines of its proof, or closes it when nothing did. The environment has the run: GITHUB_REPOSITORY, GITHUB_TOKEN,
// GITHUB_SERVER_URL, GITHUB_RUN_ID, and in NEEDS the workflow's context of that name, as JSON.
func ReportNight(ctx context.Context, o setup.Options, out io.Writer) error {
	hosted, err := publish.Repository(o)
	if err != nil {
		return err
	}
	var jobs map[string]struct {
		Result string `json:"result"`
	}
	if err := json.Unmarshal([]byte(o.GitHub.Needs), &jobs); err != nil || len(jobs) == 0 {
		return fmt.Errorf("NEEDS=%.100q; wanted the context needs of a workflow's run as JSON", o.GitHub.Needs)
	}
	t := &tracker.Tracker{Client: hosted.Client, Repository: hosted.Name}
	failed := false
	var body bytes.Buffer
	fmt.Fprintf(&body, "The last run that failed: %s/%s/actions/runs/%s\n\n| job | result |\n| --- | --- |\n",
		hosted.Client.Server, hosted.Name, o.GitHub.Run)
	for _, name := range slices.Sorted(maps.Keys(jobs)) {
		result := jobs[name].Result
		failed = failed || result == "failure" || result == "cancelled"
		fmt.Fprintf(&body, "| %s | %s |\n", foreign.Code(name), result)
	}
	if !failed {
		n, err := t.Resolve(ctx, failureTitle)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "nothing failed; %d issues closed\n", n)
		return err
	}
	if err := failedProofs(o, &body); err != nil {
		return err
	}
	address, err := t.Report(ctx, failureTitle, body.String())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, address)
	return err
}

// failedProofs writes what the parts of the proof say, as far as there are some.
func failedProofs(o setup.Options, out io.Writer) error {
	parts, err := readProofs(o)
	if err != nil {
		return err
	}
	var proofs []report.Proof
	for i, p := range parts {
		proofs = append(proofs, proof.Reported(fmt.Sprintf("Proof, %d of %d parts that are there", i+1, len(parts)), p))
	}
	return report.ProofsMarkdown(out, proofs)
}

// refusedFile is the name of the report on a release that does not fit, in the directory of releases.
const refusedFile = "over-budget.md"

// Refused writes a report on a release that does not fit, to OUTPUT and to the summary of a workflow's job, and returns its path.
func Refused(o setup.Options, over *plan.OverBudgetError) (string, error) {
	text := over.Markdown()
	path := filepath.Join(o.Output, refusedFile)
	if err := os.MkdirAll(o.Output, 0o755); err != nil {
		return "", err
	}
	if err := atomicfile.WriteBytes(path, 0o644, []byte(text)); err != nil {
		return "", err
	}
	if o.GitHub.Summary == "" {
		return path, nil
	}
	return path, appendTo(o.GitHub.Summary, text)
}

// Summarize adds a release's report and proofs to the summary of a workflow's job, which is the file that GitHub's runners name in
// GITHUB_STEP_SUMMARY. Without one it does nothing.
func Summarize(o setup.Options) error {
	const most = 1 << 20 // of a step, docs.github.com/actions
	if o.GitHub.Summary == "" {
		return nil
	}
	content, err := os.ReadFile(filepath.Join(o.Dir(), manifest.ReportMarkdownFile))
	if err != nil {
		return err
	}
	text := bytes.NewBuffer(content)
	if err := proof.WriteMarkdown(text, o.Dir()); err != nil {
		return err
	}
	return appendTo(o.GitHub.Summary, string(text.Bytes()[:min(text.Len(), most)]))
}
