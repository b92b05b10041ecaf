// Package show writes for people what targets found.
package show

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Images writes a table of images that stand alone.
func Images(out io.Writer, images []oem.Image) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "platform\tfiles\tunpacked\timage\t")
	var files int
	var unpacked, packed size.Bytes
	for _, image := range images {
		fmt.Fprintf(table, "%s\t%d\t%v\t%v\t\n", image.Platform.ID, image.Tree.Files(), image.Tree.Size(), image.Size)
		files, unpacked, packed = files+image.Tree.Files(), unpacked+image.Tree.Size(), packed+image.Size
	}
	fmt.Fprintf(table, "all\t%d\t%v\t%v\t\n", files, unpacked, packed)
	return table.Flush()
}

// Release writes the plan, what is left of /usr, and what machines download to update.
func Release(out io.Writer, m *manifest.Manifest) error {
	if err := Plan(out, m); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n/usr of %v had %v free and has %v left; root hash %v\n",
		m.Partition.Filesystem, m.Partition.FreeBefore, m.Partition.FreeAfter, m.Partition.RootHash)
	if err != nil {
		return err
	}
	var update, tools size.Bytes
	for _, p := range m.Payloads {
		if p.Platform == "" {
			update += m.File(p.File).Size
		} else {
			tools = max(tools, m.File(p.File).Size)
		}
	}
	_, err = fmt.Fprintf(out, "an update is a download of %v, and where tools are on the OEM partition, of %v more at most\n", update, tools)
	return err
}

// Plan writes what each platform activates, how each image is packed, and what that takes of the budgets.
func Plan(out io.Writer, m *manifest.Manifest) error {
	platforms := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(platforms, "platform\tplacement\tfiles\tunpacked\tcold read\tactivates")
	for _, p := range m.Platforms {
		fmt.Fprintf(platforms, "%s\t%s\t%d\t%v\t%s\t%s\n",
			p.ID, p.Placement, p.Files, p.Unpacked, size.Milliseconds(p.Read), strings.Join(p.Activates, " "))
	}
	if err := platforms.Flush(); err != nil {
		return err
	}
	images := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(images, "\nimage\trung\tunpacked\tsize\tin /usr\tcold read\tplatforms")
	var all manifest.Image
	for _, i := range m.Images {
		fmt.Fprintf(images, "%s\t%v\t%v\t%v\t%v\t%s\t%d\n", i.Name, i.Rung, i.Unpacked, i.Size, i.Cost, size.Milliseconds(i.Read), len(i.Platforms))
		all.Unpacked, all.Size, all.Cost = all.Unpacked+i.Unpacked, all.Size+i.Size, all.Cost+i.Cost
	}
	fmt.Fprintf(images, "all\t\t%v\t%v\t%v\t\t\n", all.Unpacked, all.Size, all.Cost)
	if err := images.Flush(); err != nil {
		return err
	}
	if err := printExtensions(out, m.Extensions); err != nil {
		return err
	}
	budgets := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(budgets, "\nbudget\tused\tof that fixed\tlimit\tleft")
	for _, b := range m.Plan.Budgets {
		fmt.Fprintf(budgets, "%s\t%v\t%v\t%v\t%v\n", b.Name, b.Used, b.Fixed, b.Limit, b.Left())
	}
	return budgets.Flush()
}

func printExtensions(out io.Writer, all []manifest.Extension) error {
	if len(all) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nextension\tversion\tenabled\tunpacked\tsize\tin /usr\tpacked")
	for _, x := range all {
		enabled, packed := x.Enable, "as it came"
		switch {
		case x.Embedded == "":
			enabled, packed = "part of /usr", "-"
		case x.Rung != nil:
			packed = x.Rung.String()
		}
		if len(x.Platforms) > 0 {
			enabled = strings.Join(x.Platforms, " ")
		}
		if x.Default {
			enabled += ", by default"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%v\t%v\t%v\t%s\n", x.Name, x.Version, enabled, x.Unpacked, x.Size, x.Cost, packed)
	}
	return table.Flush()
}
