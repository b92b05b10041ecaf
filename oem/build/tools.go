package build

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/source/deb"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// Toolset is Debian packages that a recipe is built with, on the build machine. The archive's current versions are installed;
// the lock file records versions, because different ones may give a different tree.
type Toolset struct {
	suite    string
	packages []string
	all      bool // including essential packages
}

// Toolsets returns the toolsets of a recipe: the root of its script, and patchelf if packages bring their libraries (private).
func Toolsets(r *recipe.Recipe, private bool) []Toolset {
	var sets []Toolset
	if s := r.Build.Script; s != nil {
		sets = append(sets, scriptToolset(s))
	}
	if r.HasPackages() && private {
		sets = append(sets, patchelf)
	}
	return sets
}

var patchelf = Toolset{suite: toolroot.Suite, packages: []string{"patchelf"}}

func scriptToolset(s *recipe.Script) Toolset {
	packages := []string{"tar"} // for the sandbox
	for _, name := range s.Packages {
		packages = append(packages, name.Value)
	}
	return Toolset{suite: cmp.Or(s.Suite, toolroot.Suite), packages: packages, all: true}
}

// Question identifies the toolset in a lock file. Answers are by architecture of the build machine.
func (s Toolset) Question() string { return "tools " + s.suite + " " + strings.Join(s.packages, " ") }

// LookTools looks up the packages of a toolset on build machines of an architecture.
func (b *Builder) LookTools(ctx context.Context, s Toolset, machine arch.Arch) ([]lock.Pin, error) {
	release, err := b.Archive.Release(ctx, s.suite, string(machine))
	if err != nil {
		return nil, err
	}
	packages, err := release.Packages(ctx)
	if err != nil {
		return nil, err
	}
	want := s.packages
	if s.all {
		want = slices.Concat(want, packages.Essential())
	}
	closure, err := packages.Closure(debian.Ask{Want: want})
	return deb.Pins(closure.Packages), err
}

// open returns the root with a toolset.
func (b *Builder) open(ctx context.Context, s Toolset) (*toolroot.Root, error) {
	return b.Tools(ctx, s.suite, s.packages)
}

// findTools returns the locked packages of a recipe's toolsets for this machine.
func (b *Builder) findTools(r *recipe.Recipe, locked *lock.Lock) (all [][]lock.Pin, err error) {
	for _, s := range Toolsets(r, needsLibraries(b.Base)) {
		pins, answered := locked.Find(s.Question(), "", arch.Arch(runtime.GOARCH))
		if !answered && b.Locked {
			return nil, fmt.Errorf("%s: the lock file has no entry for %q on %s; run %s", r.File, s.Question(), runtime.GOARCH, lock.Command(r.Name.Value))
		}
		all = append(all, pins)
	}
	return all, nil
}

// checkTools compares installed packages of a recipe's toolsets with the lock file.
func (b *Builder) checkTools(ctx context.Context, r *Resolved) error {
	for i, s := range Toolsets(r.Recipe, needsLibraries(b.Base)) {
		if len(r.Tools[i]) == 0 {
			continue // not locked
		}
		root, err := b.open(ctx, s)
		if err != nil {
			return err
		}
		var differ []string
		for _, pin := range r.Tools[i] {
			switch offered := root.Versions(pin.Name)[pin.Name]; offered {
			case pin.Version:
			case "":
				differ = append(differ, fmt.Sprintf("%s %s is locked, but no longer installed", pin.Name, pin.Version))
			default:
				differ = append(differ, fmt.Sprintf("%s %s is locked, but the archive has %s", pin.Name, pin.Version, offered))
			}
		}
		if len(differ) == 0 {
			continue
		}
		if b.Locked {
			return fmt.Errorf("%s: build tools differ from the lock file: %s; run %s", r.Recipe.File, strings.Join(differ, "; "), lock.Command(r.Recipe.Name.Value))
		}
		b.Log.Warn("the lock file is stale; using what the archive offers instead", "recipe", r.Recipe.Name.Value,
			"tools", strings.Join(differ, "; "), "to update it", lock.Command(r.Recipe.Name.Value))
	}
	return nil
}
