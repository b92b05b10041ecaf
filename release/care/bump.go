// Package care maintains recipes: it writes lock files, bumps versions, shows a recipe's content and compares it with a release.
package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/source"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Bumped is a changed version in a recipe. From or To is empty if there was or is none.
type Bumped struct {
	Recipe string `json:"recipe"`
	Name   string `json:"name" doc:"of the source or package"`
	From   string `json:"from" doc:"version; empty if there was none"`
	To     string `json:"to" doc:"version; empty if there is none"`
}

// Bump looks up newer versions for recipes, by name or all, and writes them into recipes and lock files.
// If the new version of a recipe cannot be locked, both of its files stay unchanged and the other recipes are still bumped.
func Bump(ctx context.Context, o setup.Options, names ...string) ([]Bumped, error) {
	c, err := openLocker(o, names)
	if err != nil {
		return nil, err
	}
	defer c.bench.Close()
	defer c.bench.Downloads.End()
	var all []Bumped
	var failures []error
	for _, r := range c.recipes {
		changes, err := c.bump(ctx, r)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", r.Name, err))
		}
		all = append(all, changes...)
	}
	return all, errors.Join(failures...)
}

// BumpFloors moves the dates below which indexes of Debian's suites are refused as old to those of the archive, in the checkout.
func BumpFloors(ctx context.Context, o setup.Options) ([]Bumped, error) {
	bench, err := setup.OpenCache(o)
	if err != nil {
		return nil, err
	}
	defer bench.Close()
	path := filepath.Join(o.Checkout, repository.FloorsFile)
	before, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	floors, err := repository.ParseFloors(string(before))
	if err != nil {
		return nil, err
	}
	var changes []Bumped
	for _, suite := range slices.Sorted(maps.Keys(floors)) {
		release, err := bench.Archive.Release(ctx, suite, string(arch.AMD64))
		if err != nil {
			return nil, err
		}
		if date := release.SuiteDate(); date.After(floors[suite]) {
			changes = append(changes, Bumped{FloorsName, suite, floors[suite].Format(time.DateOnly), date.Format(time.DateOnly)})
			floors[suite] = date
		}
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return changes, atomicfile.WriteBytes(path, 0o644, []byte(floors.Encode(string(before))))
}

// FloorsName stands for a recipe's name where dates of Debian's suites are bumped.
const FloorsName = "debian-suites"

// bump edits and locks one recipe, or leaves both of its files unchanged.
func (c *locker) bump(ctx context.Context, r *recipe.Recipe) (changes []Bumped, err error) {
	definition := filepath.Join(c.checkout, r.File)
	old, err := os.ReadFile(definition)
	if err != nil {
		return nil, err
	}
	before, err := c.readLock(r)
	if err != nil {
		return nil, err
	}
	edited, changes, err := c.edit(ctx, r, old)
	if err != nil {
		return nil, err
	}
	if len(changes) > 0 {
		if err := atomicfile.WriteBytes(definition, 0o644, edited); err != nil {
			return nil, err
		}
	}
	after, err := c.look(ctx, r.Name.Value)
	if err == nil {
		err = older(r, before, after)
	}
	if err == nil {
		_, err = c.writeLock(r, after)
	}
	if err != nil {
		return nil, errors.Join(err, atomicfile.WriteBytes(definition, 0o644, old))
	}
	return append(changes, packages(r, before, after)...), nil
}

// look reads the edited recipe and resolves its sources.
func (c *locker) look(ctx context.Context, name string) (*lock.Lock, error) {
	all, mistakes := recipe.Load(rooted.Files(c.checkout), "recipes")
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	return c.answers(ctx, all[name])
}

// older refuses to downgrade Debian packages, as an outdated mirror would.
func older(r *recipe.Recipe, before, after *lock.Lock) error {
	var mistakes []error
	for _, c := range packages(r, before, after) {
		if c.From != "" && c.To != "" && debian.CompareVersions(c.To, c.From) < 0 {
			mistakes = append(mistakes, fmt.Errorf("the mirror is outdated: it offers %s %s, but %s is already locked; nothing was changed", c.Name, c.To, c.From))
		}
	}
	return errors.Join(mistakes...)
}

// edit writes newer versions into a definition.
func (c *locker) edit(ctx context.Context, r *recipe.Recipe, definition []byte) ([]byte, []Bumped, error) {
	b, err := c.builder(ctx, c.name.Reference(), r.Arches[0])
	if err != nil {
		return nil, nil, err
	}
	var changes []Bumped
	for i, one := range r.Sources {
		updater, names := source.All.Of(r, one).(kind.Updater)
		if !names {
			continue
		}
		newer, err := updater.Newer(ctx, b.Env())
		if err != nil {
			return nil, nil, err
		}
		if newer == nil {
			continue
		}
		if definition, err = newer.Apply(definition, i, one.Kind()); err != nil {
			return nil, nil, err
		}
		changes = append(changes, Bumped{r.Name.Value, newer.Name, newer.From, newer.To})
	}
	return definition, changes, nil
}

// packages compares the packages of a recipe's sources in two lock files. Architectures with different versions are listed
// separately.
func packages(r *recipe.Recipe, before, after *lock.Lock) []Bumped {
	var changes []Bumped
	for _, a := range arch.All {
		old, now := packageVersions(r, before, a), packageVersions(r, after, a)
		var names []string
		for name := range old {
			names = append(names, name)
		}
		for name := range now {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			change := Bumped{r.Name.Value, name, old[name], now[name]}
			if change.From != change.To && !slices.Contains(changes, change) {
				changes = append(changes, change)
			}
		}
	}
	return changes
}

// packageVersions returns the locked versions of sources that have no version in the recipe.
func packageVersions(r *recipe.Recipe, l *lock.Lock, a arch.Arch) map[string]string {
	versions := map[string]string{}
	for _, one := range r.Sources {
		if _, names := source.All.Of(r, one).(kind.Updater); names {
			continue
		}
		for _, s := range l.Sources {
			if pins, _ := l.Find(s.Source, s.Base, a); s.Source == one.Question(false) || s.Source == one.Question(true) {
				for _, pin := range pins {
					versions[pin.Name] = pin.Version
				}
			}
		}
	}
	for _, s := range build.Toolsets(r, true) {
		pins, _ := l.Find(s.Question(), "", a)
		for _, pin := range pins {
			versions["tool "+pin.Name] = pin.Version
		}
	}
	return versions
}

// NotLookedUp names the sources of recipes, by name or all, whose newer versions Bump has nowhere to look for.
func NotLookedUp(o setup.Options, names ...string) ([]string, error) {
	all, mistakes := recipe.Load(rooted.Files(o.Checkout), "recipes")
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	recipes, err := all.Choose(names)
	var blind []string
	for _, r := range recipes {
		for _, one := range r.Sources {
			switch {
			case one.URL != nil && one.URL.Update == nil:
				blind = append(blind, fmt.Sprintf("%s:%d: %s: add update: with a page and a pattern", r.File, one.Line, one.URL.Address))
			case one.Binpkg != nil && !one.IsOpen():
				blind = append(blind, fmt.Sprintf("%s:%d: Flatcar's packages of release %s: release: is set by hand", r.File, one.Line, one.Binpkg.Release))
			}
		}
	}
	return blind, err
}

// WriteBumped prints a table that is readable in a terminal and valid Markdown, for pull requests, and a list of what was not looked up.
func WriteBumped(out io.Writer, changes []Bumped, notLookedUp []string) error {
	if err := writeChanges(out, changes); err != nil || len(notLookedUp) == 0 {
		return err
	}
	fmt.Fprint(out, "\nNot looked up:\n\n")
	for _, one := range notLookedUp {
		if _, err := fmt.Fprintf(out, "* %s\n", one); err != nil {
			return err
		}
	}
	return nil
}

func writeChanges(out io.Writer, changes []Bumped) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintln(out, "Nothing newer.")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(table, "| recipe\t| what\t| from\t| to\t|")
	fmt.Fprintln(table, "| ---\t| ---\t| ---\t| ---\t|")
	for _, c := range changes {
		fmt.Fprintf(table, "| %s\t| %s\t| %s\t| %s\t|\n", c.Recipe, cell(c.Name), cell(cmp.Or(c.From, "-")), cell(cmp.Or(c.To, "-")))
	}
	return table.Flush()
}

// plainCell matches what Markdown leaves alone, as all names and versions of packages are.
var plainCell = regexp.MustCompile(`^[A-Za-z0-9.+~:/ -]+$`)

// cell writes what others chose.
func cell(text string) string {
	if plainCell.MatchString(text) {
		return text
	}
	return foreign.Code(text)
}
