package show

import (
	"cmp"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/release/care"
)

// versionOf returns the version of an input, or its digest if it has none.
func versionOf(i *input.Input) string { return cmp.Or(i.Version, i.Digest) }

// Diff prints the differences.
func Diff(out Output, d *care.RecipeDiff) error {
	return out.answer(d, func() error { return writeDiff(out, d) })
}

func writeDiff(out io.Writer, d *care.RecipeDiff) error {
	t := table.New(out)
	if len(d.Inputs)+len(d.Files) == 0 {
		t.Row(fmt.Sprintf("%s is the same as in release %s", d.Recipe, d.Since))
	} else {
		t.Row(fmt.Sprintf("%s since release %s: %d inputs and %d files differ", d.Recipe, d.Since, len(d.Inputs), len(d.Files)))
	}
	for _, c := range d.Inputs {
		switch {
		case c.Was == nil:
			t.Row(fmt.Sprintf("+ %s %s", c.Is.Kind, c.Is.Name), versionOf(c.Is))
		case c.Is == nil:
			t.Row(fmt.Sprintf("- %s %s", c.Was.Kind, c.Was.Name), versionOf(c.Was))
		default:
			t.Row(fmt.Sprintf("~ %s %s", c.Is.Kind, c.Is.Name), fmt.Sprintf("%s → %s", versionOf(c.Was), versionOf(c.Is)))
		}
	}
	for _, c := range d.Files {
		switch {
		case c.Was == nil:
			t.Row(fmt.Sprintf("+ %s", c.Is.Path), size.Bytes(c.Is.Size))
		case c.Is == nil:
			t.Row(fmt.Sprintf("- %s", c.Was.Path), size.Bytes(c.Was.Size))
		default:
			t.Row(fmt.Sprintf("~ %s", c.Is.Path), fmt.Sprintf("%v → %v", size.Bytes(c.Was.Size), size.Bytes(c.Is.Size)))
		}
	}
	return t.Flush()
}

// Bumped prints changed versions.
func Bumped(out Output, changes []care.Bumped, notLookedUp []string) error {
	value := append([]care.Bumped{}, changes...) // no null where nothing changed
	return out.answer(value, func() error { return care.WriteBumped(out, changes, notLookedUp) })
}
