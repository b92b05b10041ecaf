package show

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/prove/trial"
)

// Proof writes a proof for people, with everything that speaks against the release.
func Proof(out io.Writer, p *prove.Proof) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "PLATFORM\tIMAGES\tBOOT\tASSERTED\t\n")
	for _, m := range p.Machines {
		asserted := fmt.Sprintf("%d of %d", len(m.Outcomes)-m.Faults(), len(m.Outcomes))
		fmt.Fprintf(table, "%s\t%d\t%.0f s\t%s\t%s\n", m.Platform, len(m.Images), m.Seconds, asserted, m.Step)
	}
	if err := table.Flush(); err != nil {
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
			fmt.Fprintf(out, "%s: the console is in %s\n", m.Platform, m.Console)
		}
	}
	if n := p.Failed(); n > 0 {
		return fmt.Errorf("%d of %d machines failed", n, len(p.Machines))
	}
	_, err := fmt.Fprintln(out, "all assertions hold")
	return err
}

// Trial writes the trial for people.
func Trial(out io.Writer, t *trial.Trial) error {
	fmt.Fprintf(out, "%s is merged; after %.0f s the system is %s\n", t.Platform.Image(), t.Seconds, t.State)
	fmt.Fprintf(out, "the release says: %s\n", t.Linked)
	recognised := t.Verdict.ID
	if recognised == "" {
		recognised = "no single platform"
	}
	if len(t.Verdict.Maybe) > 0 {
		recognised += ", and may be " + strings.Join(t.Verdict.Maybe, ", ")
	}
	fmt.Fprintf(out, "by its markers the machine is recognised as %s\n", recognised)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, unit := range slices.Sorted(maps.Keys(t.Units)) {
		fmt.Fprintf(table, "  %s\t%s\n", unit, t.Units[unit])
	}
	for _, unit := range t.Failed {
		fmt.Fprintf(table, "  %s\tfailed\n", unit)
	}
	return table.Flush()
}
