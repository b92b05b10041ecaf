package show

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Built is the image of one platform, without a release.
type Built struct {
	Platform string        `json:"platform" doc:"id"`
	Files    int           `json:"files"`
	Unpacked size.Bytes    `json:"unpacked_bytes"`
	Size     size.Bytes    `json:"bytes" doc:"of the image"`
	SHA256   digest.SHA256 `json:"sha256" doc:"of the image"`
}

// Images prints a table of standalone images.
func Images(out Output, images []oem.Image) error {
	built := []Built{}
	for _, i := range images {
		built = append(built, Built{i.Platform.ID.Value, i.Tree.Files(), i.Tree.Size(), i.Size, i.SHA256})
	}
	return out.answer(built, func() error { return writeBuilt(out, built) })
}

func writeBuilt(out io.Writer, images []Built) error {
	t := table.Right(out, "platform", "files", "unpacked", "image")
	var files int
	var unpacked, packed size.Bytes
	for _, image := range images {
		t.Row(image.Platform, image.Files, image.Unpacked, image.Size)
		files, unpacked, packed = files+image.Files, unpacked+image.Unpacked, packed+image.Size
	}
	t.Row("all", files, unpacked, packed)
	return t.Flush()
}

// Release prints the plan, the free space in /usr, the size of an update, where the release is in the output directory, and what
// can be done with it.
func Release(out Output, m *manifest.Manifest, output string) error {
	return out.answer(m, func() error { return writeRelease(out, m, output) })
}

func writeRelease(out io.Writer, m *manifest.Manifest, output string) error {
	if err := writePlan(out, m); err != nil {
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

// Planned is how each image would be packed. The fields are those of a manifest.
type Planned struct {
	Version    string               `json:"version"`
	Arch       string               `json:"arch"`
	Base       manifest.Base        `json:"base"`
	Platforms  []manifest.Platform  `json:"platforms"`
	Images     []manifest.Image     `json:"images"`
	Extensions []manifest.Extension `json:"extensions,omitempty"`
	Plan       manifest.Plan        `json:"plan"`
}

// Plan prints each platform's images, the rung and cost of each image, and the budgets.
func Plan(out Output, m *manifest.Manifest) error {
	value := Planned{m.Version, m.Arch, m.Base, m.Platforms, m.Images, m.Extensions, m.Plan}
	return out.answer(value, func() error { return writePlan(out, m) })
}

func writePlan(out io.Writer, m *manifest.Manifest) error {
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
