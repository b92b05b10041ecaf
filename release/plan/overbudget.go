package release

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// ExitOverBudget is the exit code of a run that found that the images do not fit.
const ExitOverBudget = 3

// OverBudgetError says that the images do not fit, who takes what, and what would help. Nothing was embedded.
type OverBudgetError struct {
	*fit.OverBudgetError
	Growth  map[string]size.Bytes // by image, since the release before, of the sizes of its files
	Largest []sizedFile           // of all images
	Grown   []grownRecipe         // since the release before
}

type sizedFile struct {
	path, recipe string
	size         size.Bytes
}

type grownRecipe struct {
	name string
	by   size.Bytes // unpacked
}

// Unwrap returns what the planner said.
func (e *OverBudgetError) Unwrap() error { return e.OverBudgetError }

// largestFiles is how many files the message names.
const largestFiles = 10

// ExitStatus is what mage asks an error for.
func (e *OverBudgetError) ExitStatus() int { return ExitOverBudget }

func (e *OverBudgetError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n\n", e.OverBudgetError)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "image\ttakes at least\tshare\tgrowth, unpacked\trung\t")
	var all size.Bytes
	for _, s := range e.Smallest {
		all += s.Cost
	}
	for _, s := range e.Smallest {
		growth := "-"
		if by, known := e.Growth[s.Name]; known {
			growth = signed(by)
		}
		fmt.Fprintf(table, "%s\t%v\t%.1f %%\t%s\t%v\t\n", s.Name, s.Cost, 100*float64(s.Cost)/float64(max(1, all)), growth, s.Rung)
	}
	_ = table.Flush() // to memory, where nothing can fail
	fmt.Fprintf(&b, "\nThe largest files:\n")
	for _, f := range e.Largest {
		fmt.Fprintf(&b, "  %10v  %s (%s)\n", f.size, f.path, f.recipe)
	}
	for _, g := range e.Grown {
		fmt.Fprintf(&b, "\nRecipe %s grew by %v since the last release.", g.name, g.by)
	}
	fmt.Fprintf(&b, "\nWhat helps: prune files that nothing needs in the recipes named above; place a platform on the OEM partition "+
		"(placement: in its profile); or raise the budget there, in review. Nothing was embedded.")
	return b.String()
}

func signed(b size.Bytes) string {
	if b < 0 {
		return b.String()
	}
	return "+" + b.String()
}

// explainOver adds to the planner's error what a person needs to do something about it.
func (w *workshop) explainOver(over *fit.OverBudgetError, staged []oem.Staged) error {
	e := &OverBudgetError{OverBudgetError: over, Growth: map[string]size.Bytes{}, Largest: largest(staged)}
	previous, err := w.previousReleases()
	if err != nil {
		return errors.Join(e, err)
	}
	if len(previous) == 0 {
		return e
	}
	last := previous[len(previous)-1]
	for _, image := range last.Images {
		for _, s := range over.Smallest {
			if s.Name == image.Name {
				e.Growth[s.Name] = s.Unpacked - image.Unpacked
			}
		}
	}
	e.Grown = grown(staged, last)
	return e
}

// largest returns the largest files of all platforms, each path once.
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

// grown returns the recipes whose files are new or larger than in an earlier release, those that grew most first.
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
