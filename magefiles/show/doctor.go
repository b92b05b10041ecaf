package show

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/prove/doctor"
)

// Doctor prints what an update to a release does to a machine, and returns an error if something stands in the way.
func Doctor(out Output, d *doctor.Diagnosis) error {
	if err := out.answer(d, func() error { return writeDiagnosis(out, d) }); err != nil {
		return err
	}
	if len(d.Problems) > 0 {
		return fmt.Errorf("%d of what an update needs is missing or not known", len(d.Problems))
	}
	return nil
}

func writeDiagnosis(out io.Writer, d *doctor.Diagnosis) error {
	fmt.Fprintf(out, "%s: %s, which boots %s next\n", d.Disk, cmp.Or(d.Platform, "a machine of an unknown cloud"), cmp.Or(d.Runs, "a version that cannot be read"))
	if d.State != "" {
		fmt.Fprintf(out, "its OEM tools: %s (%s)\n", d.State, d.How)
	}
	fmt.Fprintf(out, "after an update to %s:\n", d.Release)
	for _, line := range d.Said {
		fmt.Fprintf(out, "  %s\n", line)
	}
	t := table.New(out, "MERGED", "FROM")
	for _, name := range slices.Sorted(maps.Keys(d.Merged)) {
		t.Row(name, d.Merged[name])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, problem := range d.Problems {
		fmt.Fprintln(out, problem)
	}
	if len(d.Problems) > 0 {
		return nil
	}
	_, err := fmt.Fprintln(out, "nothing stands in the way")
	return err
}
