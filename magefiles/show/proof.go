package show

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/trial"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Proof prints a proof and returns an error if a machine failed.
func Proof(out Output, p *proof.Proof) error {
	if err := answerProof(out, p); err != nil {
		return err
	}
	if n := p.Failed(); n > 0 {
		return fmt.Errorf("%d of %d machines failed", n, len(p.Machines))
	}
	return nil
}

func answerProof(out Output, p *proof.Proof) error {
	switch out.proofs {
	case setup.TAP:
		return p.WriteTAP(out)
	case setup.JUnit:
		return p.WriteJUnit(out)
	}
	return out.answer(p, func() error { return writeProof(out, p) })
}

func writeProof(out io.Writer, p *proof.Proof) error {
	t := table.New(out, "PLATFORM", "IMAGES", "BOOT", "ASSERTED", "")
	for _, m := range p.Machines {
		asserted := fmt.Sprintf("%d of %d", len(m.Outcomes)-m.Faults(), len(m.Outcomes))
		t.Row(m.Platform, len(m.Images), fmt.Sprintf("%.0f s", m.Seconds), asserted, m.Step)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range p.Machines {
		if m.Error != "" {
			fmt.Fprintf(out, "%s: %s\n", m.Platform, m.Error)
		}
		for _, o := range m.Outcomes {
			if o.Error != "" {
				fmt.Fprintf(out, "%s: FAILED: %s: %s\n", m.Platform, o.Assertion, o.Error)
			}
		}
		if m.Console != "" {
			fmt.Fprintf(out, "%s: console log: %s\n", m.Platform, m.Console)
		}
	}
	if p.Failed() > 0 {
		return nil
	}
	_, err := fmt.Fprintln(out, "all assertions hold")
	return err
}

// Tried is what a machine with one platform's image merged did.
type Tried struct {
	Image      string            `json:"image" doc:"its name"`
	State      string            `json:"state" doc:"of the system: running, degraded"`
	Seconds    float64           `json:"seconds" doc:"since the kernel started"`
	Linked     string            `json:"linked" doc:"what oem-sysext-link.service said"`
	Recognised string            `json:"recognised,omitempty" doc:"id of the platform by the machine's markers"`
	Candidates []string          `json:"candidates,omitempty" doc:"ids of other possible platforms"`
	Units      map[string]string `json:"units" doc:"states of the platform's units"`
	Failed     []string          `json:"failed,omitempty" doc:"units"`
}

// Trial prints a trial.
func Trial(out Output, t *trial.Trial) error {
	tried := Tried{t.Platform.Image(), t.State, t.Seconds, t.Linked, t.Verdict.ID, t.Verdict.Maybe, t.Units, t.Failed}
	return out.answer(tried, func() error { return writeTried(out, tried) })
}

func writeTried(out io.Writer, t Tried) error {
	fmt.Fprintf(out, "%s is merged; the system is %s after %.0f s\n", t.Image, t.State, t.Seconds)
	fmt.Fprintf(out, "oem-sysext-link.service: %s\n", t.Linked)
	recognised := cmp.Or(t.Recognised, "no unique platform")
	if len(t.Candidates) > 0 {
		recognised += "; candidates: " + strings.Join(t.Candidates, ", ")
	}
	fmt.Fprintf(out, "platform by the machine's markers: %s\n", recognised)
	units := table.New(out)
	for _, unit := range slices.Sorted(maps.Keys(t.Units)) {
		units.Row("  "+unit, t.Units[unit])
	}
	for _, unit := range t.Failed {
		units.Row("  "+unit, "failed")
	}
	return units.Flush()
}
