package build

import (
	"context"
	"fmt"
	"path"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/source"
	"github.com/flatcar/oem-sysext/oem/source/kind"
)

// Resolve resolves a recipe's sources to files, from the lock file. Sources that it does not answer are looked up
// if a signature or a digest verifies the files, unless the builder is Locked.
func (b *Builder) Resolve(ctx context.Context, r *recipe.Recipe, a arch.Arch) (*Resolved, error) {
	locked, err := b.ReadLock(r)
	if err != nil {
		return nil, err
	}
	return b.resolve(ctx, r, a, locked)
}

// ReadLock reads the recipe's lock file.
func (b *Builder) ReadLock(r *recipe.Recipe) (*lock.Lock, error) {
	return lock.Read(rooted.Files(b.Checkout), path.Join(path.Dir(r.File), lock.FileName))
}

func (b *Builder) resolve(ctx context.Context, r *recipe.Recipe, a arch.Arch, locked *lock.Lock) (*Resolved, error) {
	if r.Nothing(b.On()) {
		return nil, fmt.Errorf("%s: no source is for a base of the family %s; add one with for: %[2]s, or leave out the platforms that have the recipe", r.File, b.On().Family)
	}
	r = r.For(b.On())
	resolved := &Resolved{Recipe: r, Arch: a, Pins: make([][]lock.Pin, len(r.Sources))}
	for i, one := range r.Sources {
		found, err := b.resolveSource(ctx, resolved, b.kinds().Of(r, one), locked)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", r.File, one.Line, err)
		}
		resolved.Pins[i] = found
	}
	var err error
	if resolved.Tools, err = b.findTools(r, locked); err != nil {
		return nil, err
	}
	resolved.Beside, err = scanBeside(b.Env(), r)
	return resolved, err
}

// On is what recipes know of the base.
func (b *Builder) On() recipe.Base {
	if b.Base.IsDebian() {
		return recipe.Base{Family: recipe.Debian}
	}
	return recipe.Base{Family: recipe.Flatcar, Release: b.Base.VersionID}
}

// resolveSource returns the files of one source, and sets of.Locked if they are from the lock file.
func (b *Builder) resolveSource(ctx context.Context, of *Resolved, s kind.Source, locked *lock.Lock) ([]lock.Pin, error) {
	question, name := s.Question(needsLibraries(b.Base)), of.Recipe.Name.Value
	if question == "" {
		return nil, nil
	}
	pins, answered := locked.Find(question, b.Base.Name, of.Arch)
	if answered && agrees(s, of.Arch, pins) {
		of.Locked = true
		return pins, nil
	}
	if _, needsLock := s.(kind.Unvouched); b.Locked || needsLock {
		return nil, fmt.Errorf("the lock file has no entry for %q on %s, for base %s; run %s",
			question, of.Arch, b.Base.Name, lock.Command(name))
	}
	lacks := "the lock file is stale"
	if len(locked.Sources) == 0 {
		lacks = "there is no lock file; what the archive offers today is used"
	}
	b.warn(lacks, "recipe", name, "source", question, "arch", of.Arch, "to write it", lock.Command(name))
	return s.Look(ctx, b.Env(), of.Arch)
}

// warn logs a warning, if there is a log.
func (b *Builder) warn(text string, more ...any) {
	if b.Log != nil {
		b.Log.Warn(text, more...)
	}
}

// Answers tells whether a lock file answers all questions of a recipe for a base, by its name in lock files. Those about the release of a
// base are not asked if it is not known.
func Answers(locked *lock.Lock, r *recipe.Recipe, name string, on recipe.Base) bool {
	r = r.For(on)
	private := on.Family != recipe.Debian
	for _, one := range r.Sources {
		if one.IsOpen() {
			continue
		}
		s := source.All.Of(r, one)
		question := s.Question(private)
		for _, a := range r.Arches {
			pins, answered := locked.Find(question, name, a)
			if question != "" && (!answered || !agrees(s, a, pins)) {
				return false
			}
		}
	}
	for _, s := range Toolsets(r, private) {
		for _, machine := range arch.All {
			if _, answered := locked.Find(s.Question(), "", machine); !answered {
				return false
			}
		}
	}
	return true
}

// agrees tells whether pins match the digests in the recipe, if it has any.
func agrees(s kind.Source, a arch.Arch, pins []lock.Pin) bool {
	pinned, says := s.(kind.Pinned)
	return !says || pinned.Agrees(a, pins)
}

// Look resolves a source to files, ignoring the lock file.
func (b *Builder) Look(ctx context.Context, r *recipe.Recipe, s recipe.Source, a arch.Arch) ([]lock.Pin, error) {
	return b.kinds().Of(r, s).Look(ctx, b.Env(), a)
}
