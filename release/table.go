package release

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/size"
	"github.com/flatcar/oem-sysext/release/manifest"
)

// PrintImages writes a table of images that are not part of a release.
func PrintImages(out io.Writer, images []oem.Image) error {
	rows := make([]manifest.Image, len(images))
	for i, image := range images {
		rows[i] = describeImage(image)
	}
	return printTable(out, rows, 0)
}

// PrintRelease writes what each platform takes of the room in /usr, and what is left of it.
func PrintRelease(out io.Writer, m *manifest.Manifest) error {
	if err := printTable(out, m.Images, m.Partition.FreeBefore); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n/usr of %v had %v free and has %v left; root hash %v\n",
		m.Partition.Filesystem, m.Partition.FreeBefore, m.Partition.FreeAfter, m.Partition.RootHash)
	return err
}

// printTable leaves the share out when there is no budget.
func printTable(out io.Writer, images []manifest.Image, budget size.Bytes) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "platform\tfiles\tunpacked\timage\t")
	if budget > 0 {
		fmt.Fprint(table, "of budget\t")
	}
	fmt.Fprintln(table)
	row := func(name string, files int, unpacked, packed size.Bytes) {
		fmt.Fprintf(table, "%s\t%d\t%v\t%v\t", name, files, unpacked, packed)
		if budget > 0 {
			fmt.Fprintf(table, "%.1f %%\t", 100*float64(packed)/float64(budget))
		}
		fmt.Fprintln(table)
	}
	var all manifest.Image
	for _, image := range images {
		row(image.Platform, image.Files, image.Unpacked, image.Size)
		all.Files += image.Files
		all.Unpacked += image.Unpacked
		all.Size += image.Size
	}
	row("all", all.Files, all.Unpacked, all.Size)
	return table.Flush()
}
