package show

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Initrds writes for people which files there are, and what is around the image in them.
func Initrds(out io.Writer, made []manifest.Initrd) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FILE\tSIZE\tIMAGE\tRECIPES")
	for _, i := range made {
		for _, f := range i.Files {
			fmt.Fprintf(table, "%s\t%v\t%v\t%s\n", f.Name, f.Size, i.Image.Size, strings.Join(i.Recipes, " "))
		}
	}
	return table.Flush()
}
