package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/ship/report/changes"
	"github.com/flatcar/oem-sysext/release/ship/report/drawing"
)

// How much Markdown names before it sums up: what it is pasted into has a limit, 65 536 characters for a comment on GitHub.
const (
	maxMarkdownFiles  = 25
	maxMarkdownInputs = 15 // of one recipe
)

// Markdown writes the figures of HTML as GitHub's Markdown. previous are as for HTML.
func Markdown(w io.Writer, m *manifest.Manifest, previous []*manifest.Manifest) error {
	f, err := work(m, previous)
	if err != nil {
		return err
	}
	md := markdown{bufio.NewWriter(w), f}
	md.summary()
	md.images()
	md.platforms()
	md.budgets()
	md.tools()
	md.downloads()
	md.changes()
	return md.Flush()
}

// Diff writes what changed since an earlier release as GitHub's Markdown: what a report says of that, without the rest.
func Diff(w io.Writer, m, earlier *manifest.Manifest) error {
	f, err := work(m, []*manifest.Manifest{earlier})
	if err != nil {
		return err
	}
	md := markdown{bufio.NewWriter(w), f}
	md.summary()
	md.changes()
	return md.Flush()
}

// markdown writes one report. Errors stay in the buffer until it is flushed.
type markdown struct {
	*bufio.Writer
	*figures
}

func (md *markdown) line(format string, args ...any) { fmt.Fprintf(md, format+"\n", args...) }

// heading starts a part, which Markdown wants to be apart from what comes before.
func (md *markdown) heading(format string, args ...any) { md.line("\n"+format+"\n", args...) }

// table starts a table. A column whose title starts with ">" is aligned to the right.
func (md *markdown) table(titles ...string) {
	var rule []string
	for i, title := range titles {
		mark := "---"
		if number, isNumber := strings.CutPrefix(title, ">"); isNumber {
			titles[i], mark = number, "---:"
		}
		rule = append(rule, mark)
	}
	md.row(titles...)
	md.row(rule...)
}

func (md *markdown) row(cells ...string) { md.line("| %s |", strings.Join(cells, " | ")) }

func (md *markdown) summary() {
	md.heading("## OEM tools %s, %s", foreign.Markdown(md.Version), foreign.Markdown(md.Arch))
	since := ""
	if md.Last != nil {
		since = fmt.Sprintf(" (%s since %s)", signed(md.Grown()), foreign.Markdown(md.Last.Version))
	}
	md.line("**%v** for %s of %s in `/usr`%s; %.1f %% of their files’ %v. %v free of %v, and %v of headroom.",
		md.Embedded, count(len(md.Images), "image"), count(len(md.Platforms), "platform"), since, drawing.Percent(md.Embedded, md.Unpacked), md.Unpacked,
		md.Parts.Free, md.Partition.Filesystem, md.Parts.Headroom)
	if s := md.Source; s != nil {
		dirty := ""
		if s.Dirty {
			dirty = ", and files differed"
		}
		md.line("\nMade by commit %s%s.", foreign.Code(s.Commit), dirty)
	}
	if len(md.DevelopmentKeys) > 0 {
		md.line("\n**For trials only:** %s are signed with a development key, which nobody should trust.\n", strings.Join(md.DevelopmentKeys, " and "))
	}
	md.line("Base %s %s, epoch %s, root hash `%v`.", foreign.Markdown(md.Base.ID), foreign.Markdown(md.Base.VersionID), md.When.Format("2006-01-02 15:04 UTC"), md.Partition.RootHash)
}

func (md *markdown) images() {
	md.heading("### Plan")
	md.table("image", "rung", ">unpacked", ">size", ">cost in `/usr`", ">change", ">cold read", "sha256")
	for _, i := range md.Images {
		cost := "–"
		if i.Embedded != "" {
			cost = i.Cost.String()
		}
		rung := foreign.Code(i.Rung.String())
		if was := i.Repacked(); was != "" {
			rung += ", was " + foreign.Code(was)
		}
		name := foreign.Code(i.Name)
		if holds := i.Holds(); holds != "" {
			name += ": " + foreign.Markdown(holds)
		}
		md.row(name, rung, i.Unpacked.String(), i.Size.String(), cost, md.since(i.Growth()), duration(i.Read), foreign.Code(i.SHA256.Short()))
	}
	md.row("**all**", "", md.Unpacked.String(), "", md.Embedded.String(), "", "", "")
}

func (md *markdown) platforms() {
	md.heading("### Platforms")
	md.table("platform", "name", ">own", ">shared", ">in all", ">change", ">cold read", ">images", ">files", ">unpacked", ">apart")
	for _, p := range md.Platforms {
		var shared size.Bytes
		for _, i := range p.Images {
			if isShared(i) {
				shared += changes.Room(i)
			}
		}
		name := foreign.Markdown(p.Name)
		if p.OnOEM() {
			name += ", on the OEM partition"
		}
		apart := "–"
		if p.Apart > 0 {
			apart = p.Apart.String()
		}
		md.row(foreign.Code(p.ID), name, (p.Room - shared).String(), shared.String(), p.Room.String(), md.since(p.Growth), coldRead(p),
			fmt.Sprint(len(p.Activates)), fmt.Sprint(p.Files), p.Unpacked.String(), apart)
	}
	md.line("\n“In all” is what every machine has in `/usr`, and downloads with the update. “Apart” is what the platform’s machines would download beside it if their tools were a payload of their own.")
}

// coldRead prints how long a platform takes to be read, and how much longer than before.
func coldRead(p platform) string {
	if p.Before == 0 {
		return duration(p.Read)
	}
	return fmt.Sprintf("%s (%s)", duration(p.Read), longer(p.Longer()))
}

// since prints a growth, and nothing where there is no release to compare with.
func (md *markdown) since(grown *size.Bytes) string {
	if md.Last == nil {
		return ""
	}
	return growth(grown)
}

func (md *markdown) budgets() {
	md.heading("### Budgets%s", of(md.Plan.Profile))
	md.table("budget", ">used", ">of it fixed", ">limit", ">left", ">share")
	for _, b := range md.Plan.Budgets {
		left := (b.Limit - b.Used).String()
		if b.Used > b.Limit {
			left = "**exceeded by " + (b.Used - b.Limit).String() + "**"
		}
		name := foreign.Code(b.Name)
		if md.Plan.Least > 0 && b.Name == imagesBudget {
			name += fmt.Sprintf(": at least %v however packed, %v for faster reading", md.Plan.Least, b.Used-md.Plan.Least)
		}
		md.row(name, b.Used.String(), b.Fixed.String(), b.Limit.String(), left, fmt.Sprintf("%.1f %%", drawing.Percent(b.Used, b.Limit)))
	}
}

func (md *markdown) tools() {
	if len(md.Tools) > 0 {
		md.heading("### Tools")
		md.table("recipe", "versions", "platforms")
	}
	for _, t := range md.Tools {
		var versions []string
		for _, v := range t.Shown() {
			versions = append(versions, foreign.Code(v.Name)+" "+foreign.Code(v.Version))
		}
		if t.More() > 0 {
			versions = append(versions, "and "+count(t.More(), "more package"))
		}
		if len(versions) == 0 {
			versions = []string{"files of this repository"}
		}
		md.row(foreign.Code(t.Recipe), strings.Join(versions, ", "), foreign.Markdown(strings.Join(t.Platforms, ", ")))
	}
	if len(md.Missing) > 0 {
		md.line("\nMissing:\n")
	}
	for _, m := range md.Missing {
		md.line("- %s of %s: %s", foreign.Code(m.Tool), foreign.Markdown(strings.Join(m.Platforms, ", ")), foreign.Markdown(m.Reason))
	}
}

func (md *markdown) downloads() {
	if len(md.Downloads) == 0 {
		return
	}
	md.heading("### Updates")
	md.table("from", ">download", ">share of the whole")
	for _, d := range md.Downloads {
		from := "any other release"
		if d.From != "" {
			from = foreign.Markdown(d.From)
		}
		md.row(from, d.Size.String(), fmt.Sprintf("%.2f %%", d.Share()))
	}
}

func of(profile string) string {
	if profile == "" {
		return ""
	}
	return " of the profile " + foreign.Markdown(profile)
}

func (md *markdown) changes() {
	if md.Changes == nil {
		return
	}
	md.heading("### Changes since %s", foreign.Markdown(md.Last.Version))
	if !md.Changes.Any() {
		md.line("Nothing changed.")
		return
	}
	for _, p := range md.Slower {
		md.line("- **%s takes %s longer to be read**: %s, before %s", foreign.Code(p.ID), duration(p.Longer()), duration(p.Read), duration(p.Before))
	}
	for _, c := range md.Changes.Ground {
		md.line("- %s %s", foreign.Code(c.Name), ends(c))
	}
	for _, r := range md.Changes.Recipes {
		md.recipe(r)
	}
	md.changedImages()
	if n := len(md.Changes.Stamped); n > 0 {
		md.line("\nIn %s nothing differs but the version of the release.", count(n, "more image"))
	}
	md.changedFiles()
}

func (md *markdown) recipe(r changes.Recipe) {
	name := "files of no recipe"
	if r.Name != "" {
		name = "recipe " + foreign.Code(r.Name)
	}
	files := "same files"
	if r.Files.Count() > 0 {
		files = fmt.Sprintf("%s (%v), %s", count(r.Files.Count(), "file"), r.Files, signed(r.Files.Size))
	}
	md.line("- %s %s: %s", name, r.How, files)
	shown := min(len(r.Inputs), maxMarkdownInputs)
	for _, c := range r.Inputs[:shown] {
		md.line("  - %s %s %s", foreign.Markdown(c.Kind), foreign.Code(c.Name), ends(c))
	}
	if rest := len(r.Inputs) - shown; rest > 0 {
		md.line("  - and %s", count(rest, "more input"))
	}
}

// ends prints what a thing was and is.
func ends(c changes.Thing) string {
	switch {
	case c.Old == "":
		return foreign.Code(c.New) + " added"
	case c.New == "":
		return foreign.Code(c.Old) + " removed"
	}
	return foreign.Code(c.Old) + " → " + foreign.Code(c.New)
}

func (md *markdown) changedImages() {
	if len(md.Changes.Images) == 0 {
		return
	}
	md.heading("#### Changed images")
	md.table("image", "", "rung", ">room")
	for _, c := range md.Changes.Images {
		rung := foreign.Code(c.New)
		switch {
		case c.New == "":
			rung = foreign.Code(c.Old)
		case c.Old != "" && c.Old != c.New:
			rung = foreign.Code(c.Old) + " → " + foreign.Code(c.New)
		}
		md.row(foreign.Code(c.Name), c.How, rung, signed(c.Room))
	}
}

func (md *markdown) changedFiles() {
	if len(md.Changes.Files) == 0 {
		return
	}
	md.heading("#### Changed files")
	md.table("file", "", "recipe", "images", ">size")
	shown := md.Changes.Files[:min(len(md.Changes.Files), maxMarkdownFiles)]
	for _, c := range shown {
		images := foreign.Code(c.Images[0])
		if more := len(c.Images) - 1; more > 0 {
			images += fmt.Sprintf(" and %d more", more)
		}
		recipe := "–"
		if c.Recipe != "" {
			recipe = foreign.Code(c.Recipe)
		}
		md.row(foreign.Code(c.Path), c.How, recipe, images, signed(c.Size))
	}
	if rest := changes.TallyOf(md.Changes.Files[len(shown):]); rest.Count() > 0 {
		md.row(fmt.Sprintf("%s beyond the %d largest differences", count(rest.Count(), "more file"), maxMarkdownFiles), rest.String(), "", "", signed(rest.Size))
	}
}
