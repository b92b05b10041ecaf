package show

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/trial"
)

// Proof prints a proof and returns an error if a machine failed.
func Proof(out io.Writer, p *proof.Proof) error {
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
	if n := p.Failed(); n > 0 {
		return fmt.Errorf("%d of %d machines failed", n, len(p.Machines))
	}
	_, err := fmt.Fprintln(out, "all assertions hold")
	return err
}

// Trial prints a trial.
func Trial(out io.Writer, t *trial.Trial) error {
	fmt.Fprintf(out, "%s is merged; the system is %s after %.0f s\n", t.Platform.Image(), t.State, t.Seconds)
	fmt.Fprintf(out, "oem-sysext-link.service: %s\n", t.Linked)
	recognised := t.Verdict.ID
	if recognised == "" {
		recognised = "no unique platform"
	}
	if len(t.Verdict.Maybe) > 0 {
		recognised += "; candidates: " + strings.Join(t.Verdict.Maybe, ", ")
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
