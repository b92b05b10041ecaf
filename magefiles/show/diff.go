package show

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/care"
)

// versionOf names what changed of an input; files of a recipe have no version.
func versionOf(i *build.Input) string { return cmp.Or(i.Version, i.Digest) }

// Diff writes the differences for people.
func Diff(out io.Writer, d *care.RecipeDiff) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(d.Inputs)+len(d.Files) == 0 {
		fmt.Fprintf(table, "%s is as in release %s\n", d.Recipe, d.Since)
	} else {
		fmt.Fprintf(table, "%s since release %s: %d inputs and %d files differ\n", d.Recipe, d.Since, len(d.Inputs), len(d.Files))
	}
	for _, c := range d.Inputs {
		switch {
		case c.Was == nil:
			fmt.Fprintf(table, "+ %s %s\t%s\t\n", c.Is.Kind, c.Is.Name, versionOf(c.Is))
		case c.Is == nil:
			fmt.Fprintf(table, "- %s %s\t%s\t\n", c.Was.Kind, c.Was.Name, versionOf(c.Was))
		default:
			fmt.Fprintf(table, "~ %s %s\t%s → %s\t\n", c.Is.Kind, c.Is.Name, versionOf(c.Was), versionOf(c.Is))
		}
	}
	for _, c := range d.Files {
		switch {
		case c.Was == nil:
			fmt.Fprintf(table, "+ %s\t%v\t\n", c.Is.Path, size.Bytes(c.Is.Size))
		case c.Is == nil:
			fmt.Fprintf(table, "- %s\t%v\t\n", c.Was.Path, size.Bytes(c.Was.Size))
		default:
			fmt.Fprintf(table, "~ %s\t%v → %v\t\n", c.Is.Path, size.Bytes(c.Was.Size), size.Bytes(c.Is.Size))
		}
	}
	return table.Flush()
}
