package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/setup"
)

// locker resolves the sources of recipes. It needs neither a base nor root.
type locker struct {
	bench    *setup.Bench
	checkout string
	name     bases.Name
	recipes  []*recipe.Recipe // the chosen ones
	builders map[forBase]*build.Builder
}

// forBase is the base and the architecture of a builder.
type forBase struct {
	id   string
	arch arch.Arch
}

// openLocker selects recipes by name, or all. The caller closes the bench.
func openLocker(o setup.Options, names []string) (*locker, error) {
	all, mistakes := recipe.Load(rooted.Files(o.Checkout), "recipes")
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	recipes, err := all.Choose(names)
	if err != nil {
		return nil, err
	}
	name, err := bases.Parse(cmp.Or(o.BaseID, setup.DefaultBase))
	if err != nil {
		return nil, err
	}
	bench, err := setup.OpenCache(o)
	if err != nil {
		return nil, err
	}
	return &locker{bench: bench, checkout: o.Checkout, name: name, recipes: recipes, builders: map[forBase]*build.Builder{}}, nil
}

// builder returns the builder for a base and an architecture. The base consists of a package database only.
func (c *locker) builder(ctx context.Context, baseID string, a arch.Arch) (*build.Builder, error) {
	key := forBase{baseID, a}
	if b := c.builders[key]; b != nil {
		return b, nil
	}
	status, err := c.status(ctx, baseID, a)
	if err != nil {
		return nil, err
	}
	c.builders[key], err = c.bench.Builder(&target.Base{Name: baseID, Arch: a, Status: status}, time.Time{})
	return c.builders[key], err
}

// status returns a base's package database. Flatcar has no dpkg database.
func (c *locker) status(ctx context.Context, baseID string, a arch.Arch) ([]byte, error) {
	if baseID == flatcar.ID {
		return nil, nil
	}
	definition, err := base.Load(baseID)
	if err != nil {
		return nil, err
	}
	suite, err := c.bench.Archive.Release(ctx, definition.Suite, string(a))
	if err != nil {
		return nil, err
	}
	return definition.Status(ctx, suite)
}

// Lock resolves the sources of recipes, by name or all, on each of their architectures, and writes the lock files.
// It returns the changed files, even when some recipes failed.
func Lock(ctx context.Context, o setup.Options, names ...string) (changed []string, err error) {
	c, err := openLocker(o, names)
	if err != nil {
		return nil, err
	}
	defer c.bench.Close()
	defer c.bench.Downloads.End()
	var failures []error
	for _, r := range c.recipes {
		file, isNew, err := c.lock(ctx, r)
		if err != nil {
			failures = append(failures, err)
		}
		if isNew {
			changed = append(changed, file)
		}
	}
	return changed, errors.Join(failures...)
}

// lock writes the lock file of one recipe if it changes.
func (c *locker) lock(ctx context.Context, r *recipe.Recipe) (file string, changed bool, err error) {
	fresh, err := c.answers(ctx, r)
	if err != nil {
		return "", false, err
	}
	changed, err = c.writeLock(r, fresh)
	return lockFile(r), changed, err
}

// lockFile returns the path of a recipe's lock file in the checkout.
func lockFile(r *recipe.Recipe) string { return filepath.Join(filepath.Dir(r.File), lock.FileName) }

func (c *locker) readLock(r *recipe.Recipe) (*lock.Lock, error) {
	return lock.Read(rooted.Files(c.checkout), lockFile(r))
}

// writeLock writes a lock file, or removes an empty one, and reports whether anything changed.
func (c *locker) writeLock(r *recipe.Recipe, l *lock.Lock) (changed bool, err error) {
	file := filepath.Join(c.checkout, lockFile(r))
	if len(l.Sources) == 0 {
		err := os.Remove(file)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	content, err := l.Encode(r.Name.Value)
	if err != nil {
		return false, err
	}
	if old, err := os.ReadFile(file); err == nil && string(old) == string(content) {
		return false, nil
	}
	return true, atomicfile.WriteBytes(file, 0o644, content)
}

// answers resolves all sources of a recipe.
func (c *locker) answers(ctx context.Context, r *recipe.Recipe) (*lock.Lock, error) {
	fresh := &lock.Lock{}
	for _, source := range r.Sources {
		if err := c.answer(ctx, r, source, fresh); err != nil {
			return nil, err
		}
	}
	if err := c.keepReleases(r, fresh); err != nil {
		return nil, err
	}
	return fresh, c.answerTools(ctx, r, fresh)
}

// flatcarBase is what recipes know of Flatcar's releases: which one, if that is the base.
func flatcarBase(name bases.Name) recipe.Base {
	return recipe.Base{Family: recipe.Flatcar, Release: name.Release.Version}
}

// keepReleases keeps what the lock file has of other releases of Flatcar, for sources of the base's release.
func (c *locker) keepReleases(r *recipe.Recipe, fresh *lock.Lock) error {
	old, err := c.readLock(r)
	if err != nil {
		return err
	}
	for _, s := range old.Sources {
		words := strings.Fields(s.Source)
		if s.Base != flatcar.ID || len(words) < 2 {
			continue
		}
		release := words[1] // if it is a question about packages of Flatcar
		for _, one := range r.Sources {
			on, is := one.On(recipe.Base{Family: recipe.Flatcar, Release: release})
			if is && one.IsOpen() && on.Question(true) == s.Source && !fresh.Has(s.Source, s.Base) {
				fresh.Sources = append(fresh.Sources, s)
			}
		}
	}
	return nil
}

// answerTools resolves the toolsets of a recipe for build machines of each architecture.
func (c *locker) answerTools(ctx context.Context, r *recipe.Recipe, into *lock.Lock) error {
	b, err := c.builder(ctx, c.name.Reference(), r.Arches[0])
	if err != nil {
		return err
	}
	for _, s := range build.Toolsets(r.For(flatcarBase(c.name)), true) { // Debian bases need no others
		for _, machine := range arch.All {
			pins, err := b.LookTools(ctx, s, machine)
			if err != nil {
				return fmt.Errorf("%s: %s, on %s: %w", r.File, s.Question(), machine, err)
			}
			into.Set(s.Question(), "", machine, pins)
		}
	}
	return nil
}

// answer resolves one source on all architectures of its recipe: for the reference base, and for Flatcar if the answer depends on the base
// or is only for that.
func (c *locker) answer(ctx context.Context, r *recipe.Recipe, source recipe.Source, into *lock.Lock) error {
	if on, is := source.On(recipe.Base{Family: recipe.Debian}); is {
		if err := c.answerFor(ctx, c.name.Reference(), r, on, into); err != nil {
			return err
		}
	}
	on, is := source.On(flatcarBase(c.name))
	if !is || on.IsOpen() || on.For == "" && !on.DependsOnBase(false) {
		return nil
	}
	return c.answerFor(ctx, flatcar.ID, r, on, into)
}

// answerFor resolves one source for a base.
func (c *locker) answerFor(ctx context.Context, baseID string, r *recipe.Recipe, source recipe.Source, into *lock.Lock) error {
	for _, a := range r.Arches {
		b, err := c.builder(ctx, baseID, a)
		if err != nil {
			return err
		}
		private := !b.Base.IsDebian()
		question := source.Question(private)
		if question == "" {
			return nil
		}
		pins, err := b.Look(ctx, r, source, a)
		if err != nil {
			return fmt.Errorf("%s:%d: on %s, for base %s: %w", r.File, source.Line, a, baseID, err)
		}
		basis := ""
		if source.DependsOnBase(private) {
			basis = baseID
		}
		into.Set(question, basis, a, pins)
	}
	return nil
}

// StaleLocksError names the recipes whose lock file is missing or outdated.
type StaleLocksError struct{ Recipes []*recipe.Recipe }

func (e *StaleLocksError) Error() string {
	names := make([]string, len(e.Recipes))
	for i, r := range e.Recipes {
		names[i] = r.Name.Value
	}
	return fmt.Sprintf("no up-to-date lock file for: %s; run %s for each, or %s",
		strings.Join(names, ", "), lock.Command("NAME"), lock.Command("all"))
}

// CheckLocks refuses missing and outdated lock files, for the given base and for Flatcar, with a *StaleLocksError. It uses no network.
func CheckLocks(checkout, baseID string) error {
	n, err := bases.Parse(baseID)
	if err != nil {
		return err
	}
	recipes, mistakes := recipe.Load(rooted.Files(checkout), "recipes")
	if err := mistakes.Err(); err != nil {
		return err
	}
	var stale []*recipe.Recipe
	for _, name := range slices.Sorted(maps.Keys(recipes)) {
		r := recipes[name]
		locked, err := lock.Read(rooted.Files(checkout), lockFile(r))
		if err != nil {
			return err
		}
		if !build.Answers(locked, r, n.Reference(), recipe.Base{Family: recipe.Debian}) || !build.Answers(locked, r, flatcar.ID, flatcarBase(n)) {
			stale = append(stale, r)
		}
	}
	if len(stale) > 0 {
		return &StaleLocksError{stale}
	}
	return nil
}
