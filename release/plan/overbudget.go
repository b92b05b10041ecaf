package plan

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// ExitOverBudget is the exit code of a run that exceeds a budget.
const ExitOverBudget = 3

// OverBudgetError says which budget is exceeded, what uses it and what would help. Nothing was embedded.
type OverBudgetError struct {
	Cause    error                 // names the budget and the excess
	Smallest []fit.Smallest        // of all images, the largest first, if they share the budget
	Growth   map[string]size.Bytes // of unpacked sizes, by image, since the previous release
	Largest  []sizedFile           // of all images
	Grown    []grownRecipe         // since the previous release
}

type sizedFile struct {
	path, recipe string
	size         size.Bytes
}

type grownRecipe struct {
	name string
	by   size.Bytes // unpacked
}

// Unwrap returns the cause.
func (e *OverBudgetError) Unwrap() error { return e.Cause }

const whatHelps = "To make room, prune unneeded files in the recipes above, place a platform on the OEM partition " +
	"(placement: in the profile), or raise the budget in the profile. Nothing was embedded."

// largestFiles is the number of files in the message.
const largestFiles = 10

// ExitStatus returns the exit code, for mage.
func (e *OverBudgetError) ExitStatus() int { return ExitOverBudget }

func (e *OverBudgetError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n\n", e.Cause)
	if len(e.Smallest) > 0 {
		e.writeSmallest(&b)
	}
	fmt.Fprintf(&b, "Largest files:\n")
	for _, f := range e.Largest {
		fmt.Fprintf(&b, "  %10v  %s (%s)\n", f.size, f.path, f.recipe)
	}
	for _, g := range e.Grown {
		fmt.Fprintf(&b, "\nRecipe %s grew by %v since the previous release.", g.name, g.by)
	}
	fmt.Fprintf(&b, "\n%s", whatHelps)
	return b.String()
}

func (e *OverBudgetError) writeSmallest(out io.Writer) {
	t := table.Right(out, "image", "smallest cost", "share", "growth, unpacked", "rung")
	for _, row := range e.smallest() {
		t.Row(row[0], row[1], row[2], row[3], row[4])
	}
	_ = t.Flush() // writes to memory, so it cannot fail
	fmt.Fprintln(out)
}

// smallest returns name, cost, share, growth and rung of each image.
func (e *OverBudgetError) smallest() (rows [][5]string) {
	var all size.Bytes
	for _, s := range e.Smallest {
		all += s.Cost
	}
	for _, s := range e.Smallest {
		growth := "-"
		if by, known := e.Growth[s.Name]; known {
			growth = withSign(by)
		}
		share := fmt.Sprintf("%.1f %%", 100*float64(s.Cost)/float64(max(1, all)))
		rows = append(rows, [5]string{s.Name, s.Cost.String(), share, growth, s.Rung.String()})
	}
	return rows
}

// Markdown says the same as Error, as GitHub's Markdown.
func (e *OverBudgetError) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## It does not fit\n\n%s\n", foreign.Markdown(e.Cause.Error()))
	if len(e.Smallest) > 0 {
		b.WriteString("\n| image | smallest cost | share | growth, unpacked | rung |\n| --- | ---: | ---: | ---: | --- |\n")
	}
	for _, row := range e.smallest() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", foreign.Code(row[0]), row[1], row[2], row[3], foreign.Code(row[4]))
	}
	b.WriteString("\n### Largest files\n\n| file | recipe | size |\n| --- | --- | ---: |\n")
	for _, f := range e.Largest {
		fmt.Fprintf(&b, "| %s | %s | %v |\n", foreign.Code(f.path), foreign.Code(f.recipe), f.size)
	}
	for n, g := range e.Grown {
		if n == 0 {
			b.WriteString("\n### Grown since the previous release\n\n")
		}
		fmt.Fprintf(&b, "- recipe %s by %v\n", foreign.Code(g.name), g.by)
	}
	fmt.Fprintf(&b, "\n%s\n", whatHelps)
	return b.String()
}

func withSign(b size.Bytes) string {
	if b < 0 {
		return b.String()
	}
	return "+" + b.String()
}

// overUsr adds the smallest choices, growth and largest files to the planner's error.
func (s *search) overUsr(over *fit.OverBudgetError) error {
	e := s.over(over)
	e.Smallest = slices.Clone(over.Smallest)
	slices.SortStableFunc(e.Smallest, func(a, b fit.Smallest) int { return cmp.Compare(b.Cost, a.Cost) })
	if len(s.Choice.Previous) == 0 {
		return e
	}
	last := s.Choice.Previous[len(s.Choice.Previous)-1]
	for _, image := range last.Images {
		for _, small := range over.Smallest {
			if small.Name == image.Name {
				e.Growth[small.Name] = small.Unpacked - image.Unpacked
			}
		}
	}
	return e
}

// over adds the largest files and the growth to any budget's error.
func (s *search) over(cause error) *OverBudgetError {
	e := &OverBudgetError{Cause: cause, Growth: map[string]size.Bytes{}, Largest: largest(s.staged)}
	if n := len(s.Choice.Previous); n > 0 {
		e.Grown = grown(s.staged, s.Choice.Previous[n-1])
	}
	return e
}

// Refused turns an embedding error about room into an *OverBudgetError.
func (p *Planned) Refused(err error) error {
	if full := (*embed.OverBudgetError)(nil); errors.As(err, &full) {
		return p.search.over(err)
	}
	return err
}

// largest returns the largest files of all platforms, without duplicate paths.
func largest(staged []oem.Staged) []sizedFile {
	var files []sizedFile
	for _, s := range staged {
		for _, e := range s.Tree {
			f := sizedFile{e.Path, s.RecipeOf(e.Path), size.Bytes(e.Size)}
			known := slices.ContainsFunc(files, func(other sizedFile) bool { return other.path == f.path })
			if e.Type == tree.File && !known {
				files = append(files, f)
				slices.SortStableFunc(files, func(a, b sizedFile) int { return cmp.Compare(b.size, a.size) })
				files = files[:min(len(files), largestFiles)]
			}
		}
	}
	return files
}

// grown returns the recipes that are new or larger than in an earlier release, by growth, largest first.
func grown(staged []oem.Staged, last *manifest.Manifest) []grownRecipe {
	before := map[string]size.Bytes{}
	for _, image := range last.Images {
		for _, c := range image.Contents {
			before[c.Path] = max(before[c.Path], size.Bytes(c.Size))
		}
	}
	by := map[string]size.Bytes{}
	counted := map[string]bool{}
	for _, s := range staged {
		for _, e := range s.Tree {
			if !counted[e.Path] {
				counted[e.Path] = true
				by[s.RecipeOf(e.Path)] += max(0, size.Bytes(e.Size)-before[e.Path])
			}
		}
	}
	var all []grownRecipe
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if name != "" && by[name] > 0 {
			all = append(all, grownRecipe{name, by[name]})
		}
	}
	slices.SortStableFunc(all, func(a, b grownRecipe) int { return cmp.Compare(b.by, a.by) })
	return all
}
