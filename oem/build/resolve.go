package build

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// LockCommand is what makes a recipe's lock file say what the recipe asks.
func LockCommand(name string) string { return "scripts/mage recipe:lock " + name }

// Resolve decides what is open in a recipe: which files its sources stand for.
// The lock file decides. What it does not answer is looked up where something signed or pinned vouches for the answer,
// unless the builder is told never to look anything up.
func (b *Builder) Resolve(ctx context.Context, r *recipe.Recipe, a arch.Arch) (*Resolved, error) {
	locked, err := b.ReadLock(r)
	if err != nil {
		return nil, err
	}
	return b.resolve(ctx, r, a, locked)
}

// ReadLock reads the recipe's lock file.
func (b *Builder) ReadLock(r *recipe.Recipe) (*lock.Lock, error) {
	return lock.Read(os.DirFS(b.Checkout), path.Join(path.Dir(r.File), lock.FileName))
}

func (b *Builder) resolve(ctx context.Context, r *recipe.Recipe, a arch.Arch, locked *lock.Lock) (*Resolved, error) {
	resolved := &Resolved{Recipe: r, Arch: a, Pins: make([][]lock.Pin, len(r.Sources))}
	for i, source := range r.Sources {
		question := source.Question(b.private())
		if question == "" {
			continue
		}
		pins, answered := locked.Find(question, b.Base.Name, a)
		if answered = answered && agrees(source, a, pins); answered {
			resolved.Pins[i], resolved.Locked = pins, true
			continue
		}
		switch {
		case b.Locked, source.GitHub != nil, source.Binpkg != nil:
			return nil, fmt.Errorf("%s:%d: its lock file does not say what %q stands for on %s, for base %s; run %s",
				r.File, source.Line, question, a, b.Base.Name, LockCommand(r.Name.Value))
		case len(locked.Sources) > 0:
			b.Log.Warn("the lock file is stale", "recipe", r.Name.Value, "asked", question, "arch", a, "to renew it", LockCommand(r.Name.Value))
		}
		var err error
		if resolved.Pins[i], err = b.Look(ctx, r, source, a); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", r.File, source.Line, err)
		}
	}
	var err error
	if resolved.Tools, err = b.findTools(r, locked); err != nil {
		return nil, err
	}
	resolved.Beside, err = b.scanBeside(r)
	return resolved, err
}

// Answers tells whether a lock file answers all that a recipe asks, for a base; private tells that it is not of Debian.
func Answers(locked *lock.Lock, r *recipe.Recipe, base string, private bool) bool {
	for _, source := range r.Sources {
		question := source.Question(private)
		for _, a := range r.Arches {
			pins, answered := locked.Find(question, base, a)
			if question != "" && (!answered || !agrees(source, a, pins)) {
				return false
			}
		}
	}
	for _, s := range Toolsets(r, private) {
		for _, machine := range []arch.Arch{arch.AMD64, arch.ARM64} {
			if _, answered := locked.Find(s.Question(), "", machine); !answered {
				return false
			}
		}
	}
	return true
}

// agrees tells whether pins are what the recipe itself says about content.
func agrees(source recipe.Source, a arch.Arch, pins []lock.Pin) bool {
	switch {
	case source.Go != nil:
		return len(pins) == 1 && string(pins[0].Digest) == source.Go.Sum
	case source.URL != nil:
		want, _ := source.URL.Digest(a)
		return len(pins) > 0 && pins[0].SHA256() == want
	}
	return true
}

// Look looks up which files a source stands for, without regard to a lock file.
func (b *Builder) Look(ctx context.Context, r *recipe.Recipe, source recipe.Source, a arch.Arch) ([]lock.Pin, error) {
	switch {
	case source.Deb != nil:
		return b.lookDeb(ctx, source.Deb, a)
	case source.Go != nil:
		return b.Go.look(ctx, source.Go)
	case source.URL != nil:
		return b.lookURL(ctx, r, source.URL, a)
	case source.GitHub != nil:
		return b.lookGitHub(ctx, r, source.GitHub, a)
	case source.Binpkg != nil:
		return b.lookBinpkg(ctx, source.Binpkg, a)
	}
	return nil, nil
}

// lookDeb returns the packages named and what they need beyond the base.
func (b *Builder) lookDeb(ctx context.Context, d *recipe.Deb, a arch.Arch) ([]lock.Pin, error) {
	debs, err := b.closure(ctx, d, a)
	return debPins(debs), err
}

func debPins(debs []debian.Package) (pins []lock.Pin) {
	for _, p := range debs {
		pins = append(pins, lock.Pin{
			Name: p.Name, Version: p.Version, From: p.Pocket, File: p.Filename, Size: lock.Size(p.Size), Digest: lock.OfSHA256(p.SHA256),
		})
	}
	return pins
}

func (b *Builder) closure(ctx context.Context, d *recipe.Deb, a arch.Arch) ([]debian.Package, error) {
	release, err := b.Archive.Release(ctx, d.Suite, string(a))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range d.Packages {
		names = append(names, name.Value)
	}
	without := d.Without
	if b.private() {
		without = slices.Concat(without, everywhere)
	}
	inputs := []any{release.Fingerprint, digest.Of(b.Base.Status), names, without}
	return store.Memo(ctx, b.Results, "closure", inputs, store.Nothing, func() ([]debian.Package, error) {
		return b.solve(ctx, release, names, without)
	})
}

// solve finds the packages that the base lacks.
func (b *Builder) solve(ctx context.Context, release *debian.Release, names, without []string) ([]debian.Package, error) {
	have, err := debian.ParseStatus(bytes.NewReader(b.Base.Status))
	if err != nil {
		return nil, err
	}
	packages, err := release.Packages(ctx)
	if err != nil {
		return nil, err
	}
	closure, err := packages.Closure(debian.Ask{Want: names, Have: have, Without: without})
	if err != nil {
		return nil, err
	}
	unused := slices.DeleteFunc(closure.Unused, func(name string) bool { return slices.Contains(everywhere, name) })
	if len(unused) > 0 && b.private() { // a base of Debian has some of what is left out, so that nothing asks for it
		return nil, fmt.Errorf("without: lists %s, which nothing needs; remove it", strings.Join(unused, ", "))
	}
	return closure.Packages, nil
}
