// Package show prints the results of targets.
package show

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Images prints a table of standalone images.
func Images(out io.Writer, images []oem.Image) error {
	t := table.Right(out, "platform", "files", "unpacked", "image")
	var files int
	var unpacked, packed size.Bytes
	for _, image := range images {
		t.Row(image.Platform.ID, image.Tree.Files(), image.Tree.Size(), image.Size)
		files, unpacked, packed = files+image.Tree.Files(), unpacked+image.Tree.Size(), packed+image.Size
	}
	t.Row("all", files, unpacked, packed)
	return t.Flush()
}

// Release prints the plan, the free space in /usr, the size of an update, where the release is in the output directory, and what
// can be done with it.
func Release(out io.Writer, m *manifest.Manifest, output string) error {
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
	fmt.Fprintf(out, "an update downloads %v, and at most %v more on machines with their tools on the OEM partition\n", update, tools)
	for _, d := range m.Deltas {
		fmt.Fprintf(out, "an update from %s downloads %v\n", d.From, m.File(d.File).Size)
	}
	dir := filepath.Join(output, m.Version, m.Arch)
	fmt.Fprintf(out, "\nthe release is in %s; %s shows it\n", dir, filepath.Join(dir, manifest.ReportFile))
	if m.Base.ID != "flatcar" {
		fmt.Fprintf(out, "it is a stand-in, on the reference base %s; BASE=stable makes one of Flatcar's latest stable release\n", m.Base.ID)
	}
	_, err = fmt.Fprintln(out, "next: scripts/mage prove boots it in virtual machines; scripts/mage -l lists what else there is")
	return err
}

// Plan prints each platform's images, the rung and cost of each image, and the budgets.
func Plan(out io.Writer, m *manifest.Manifest) error {
	platforms := table.New(out, "platform", "placement", "files", "unpacked", "cold read", "activates")
	for _, p := range m.Platforms {
		platforms.Row(p.ID, p.Placement, p.Files, p.Unpacked, size.Milliseconds(p.Read), strings.Join(p.Activates, " "))
	}
	if err := platforms.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	images := table.New(out, "image", "rung", "unpacked", "size", "in /usr", "cold read", "platforms")
	var all manifest.Image
	for _, i := range m.Images {
		images.Row(i.Name, i.Rung, i.Unpacked, i.Size, i.Cost, size.Milliseconds(i.Read), len(i.Platforms))
		all.Unpacked, all.Size, all.Cost = all.Unpacked+i.Unpacked, all.Size+i.Size, all.Cost+i.Cost
	}
	images.Row("all", "", all.Unpacked, all.Size, all.Cost, "", "")
	if err := images.Flush(); err != nil {
		return err
	}
	if err := printExtensions(out, m.Extensions); err != nil {
		return err
	}
	fmt.Fprintln(out)
	budgets := table.New(out, "budget", "used", "fixed part", "limit", "left")
	for _, b := range m.Plan.Budgets {
		budgets.Row(b.Name, b.Used, b.Fixed, b.Limit, b.Left())
	}
	return budgets.Flush()
}

func printExtensions(out io.Writer, all []manifest.Extension) error {
	if len(all) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := table.New(out, "extension", "version", "enabled", "unpacked", "size", "in /usr", "packed")
	for _, x := range all {
		enabled, packed := x.Enable, "unchanged"
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
		t.Row(x.Name, x.Version, enabled, x.Unpacked, x.Size, x.Cost, packed)
	}
	return t.Flush()
}
