// Package stage makes one tree per platform from the trees of its recipes, and checks it against the base.
package stage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Part is what a recipe contributes.
type Part struct {
	Recipe *recipe.Recipe
	Tree   tree.Tree
	Inputs []input.Input
}

// Staged is the tree of one platform's image.
type Staged struct {
	Tree    tree.Tree
	Dropped tree.Tree // files that the base has identically, or that the recipe keeps from it
}

// Problems are all errors in a platform's tree.
type Problems struct {
	Platform string
	Found    []string // each: what is wrong; what to do
}

func (p *Problems) Error() string {
	return fmt.Sprintf("platform %s:\n  %s", p.Platform, strings.Join(p.Found, "\n  "))
}

func (p *Problems) add(format string, args ...any) {
	p.Found = append(p.Found, fmt.Sprintf(format, args...))
}

// Stager makes trees for one base.
type Stager struct {
	Base  *target.Base
	Epoch time.Time // of documents
	// Keep stores a small file's content and returns its digest (Blobs.Add).
	Keep func(content string) (digest.SHA256, error)
	// Check returns what keeps a tree from working on the base (check.Checker). The tree has no extension-release.
	Check func(context.Context, tree.Tree) ([]check.Problem, error)
	// Indexes makes the indexes of a tree's own kernel modules (check.Checker).
	Indexes func(context.Context, tree.Tree) (tree.Tree, error)
	// Works runs commands in the merged system and returns those that fail (check.Checker). It is asked of trees without problems.
	Works func(context.Context, tree.Tree, []check.Command) ([]check.Failure, error)
}

// Stage merges the parts of a platform, adds its bill of materials and extension-release, and drops what the base has identically. version is that of its tools.
// The error is *Problems with all problems of the tree.
func (s *Stager) Stage(ctx context.Context, p *platform.Platform, version string, parts []Part) (Staged, error) {
	problems := &Problems{Platform: p.ID.Value}
	parts, err := s.declare(parts, problems)
	if err != nil {
		return Staged{}, err
	}
	merged := merge(parts, problems)
	staged := subtract(merged, parts, s.Base, problems)
	indexes, err := s.Indexes(ctx, staged.Tree)
	if err != nil {
		return Staged{}, fmt.Errorf("platform %s: %w", p.ID, err)
	}
	staged.Tree, _ = tree.Merge(indexes, staged.Tree)
	// Checked is a tree without the platform's name, so that the findings on one platform are those on all with the same files.
	checked, err := s.withReadAgain(staged.Tree, "oem")
	if err != nil {
		return Staged{}, err
	}
	if staged.Tree, err = s.withReadAgain(staged.Tree, p.Image()); err != nil {
		return Staged{}, err
	}
	if staged.Tree, err = s.withBill(staged.Tree, p, version, parts); err != nil {
		return Staged{}, err
	}
	release := Release{Image: p.Image(), Title: p.Name + " OEM tools", Homepage: string(p.Homepage), Version: version}
	if staged.Tree, err = WithRelease(staged.Tree, release, s.Base, s.Keep); err != nil {
		return Staged{}, err
	}
	checkLayout(staged.Tree, parts, s.Base, problems)
	checkUnits(p, staged.Tree, s.Base, problems)
	found, err := s.Check(ctx, checked)
	if err != nil {
		return Staged{}, fmt.Errorf("platform %s: %w", p.ID, err)
	}
	for _, problem := range found {
		problems.add("%v (%s)", problem, source(problem.Path, parts))
	}
	if len(problems.Found) == 0 {
		if err := s.runCommands(ctx, p, checked, problems); err != nil {
			return Staged{}, fmt.Errorf("platform %s: %w", p.ID, err)
		}
	}
	if len(problems.Found) > 0 {
		return Staged{}, problems
	}
	return staged, nil
}

// runCommands reports commands of the platform and its recipes that do not work in the merged system.
func (s *Stager) runCommands(ctx context.Context, p *platform.Platform, t tree.Tree, problems *Problems) error {
	works := p.Commands()
	commands := make([]check.Command, len(works))
	for i, work := range works {
		commands[i] = check.Command{Run: string(work.Run), Says: work.Says}
	}
	failures, err := s.Works(ctx, t, commands)
	for _, failure := range failures {
		work := works[failure.Command]
		problems.add("%s:%d: works: %q does not work in the merged system: %s; add what it needs, or correct the command", work.File, work.Line, work.Run, failure.Text)
	}
	return err
}

// source returns the recipe file that a path comes from.
func source(path string, parts []Part) string {
	if r := owner(path, parts); r != nil {
		return r.File
	}
	return "added by the build"
}

// merge combines the parts. A path that differs between two recipes is a problem.
func merge(parts []Part, problems *Problems) tree.Tree {
	var merged tree.Tree
	var named []check.Named
	for _, part := range parts {
		merged, _ = tree.Merge(merged, part.Tree)
		named = append(named, check.Named{Name: part.Recipe.File, Tree: part.Tree})
	}
	for _, problem := range check.Together(named) {
		problems.add("%v", problem)
	}
	return merged
}

// owner returns the first recipe that has a path.
func owner(path string, parts []Part) *recipe.Recipe {
	for _, part := range parts {
		if _, has := part.Tree.Find(path); has {
			return part.Recipe
		}
	}
	return nil
}

// checkUnits reports units that must run but are missing.
func checkUnits(p *platform.Platform, t tree.Tree, base *target.Base, problems *Problems) {
	for _, unit := range p.ActiveUnits {
		path := "/usr/lib/systemd/system/" + unit.Value
		if _, there := t.Find(path); !there && !base.Has(path) {
			problems.add("%s:%d: no unit %s in the image; add a recipe that has it", p.File, unit.Line, unit)
		}
	}
}
