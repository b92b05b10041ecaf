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

// Toolset is packages of Debian whose programs take part in making a recipe, on the machine that makes it. They are installed from
// what the archive offers, and the lock file says which versions these were: another one may make another tree.
type Toolset struct {
	suite    string
	packages []string
	all      bool // what Debian calls essential takes part, too
}

// Toolsets returns what takes part in making a recipe: all of the root that its script works in, and patchelf with its libraries
// where packages bring their libraries (private).
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
	packages := []string{"tar"} // the sandbox's own
	for _, name := range s.Packages {
		packages = append(packages, name.Value)
	}
	return Toolset{suite: cmp.Or(s.Suite, toolroot.Suite), packages: packages, all: true}
}

// Question is what a lock file answers, for the architecture of the machine that makes the recipe.
func (s Toolset) Question() string { return "tools " + s.suite + " " + strings.Join(s.packages, " ") }

// LookTools looks up which packages a toolset has on machines of an architecture.
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

// open returns the root that a toolset is in.
func (b *Builder) open(ctx context.Context, s Toolset) (*toolroot.Root, error) {
	return b.Tools(ctx, s.suite, s.packages)
}

// findTools reads from a lock file what takes part in making a recipe here.
func (b *Builder) findTools(r *recipe.Recipe, locked *lock.Lock) (all [][]lock.Pin, err error) {
	for _, s := range Toolsets(r, needsLibraries(b.Base)) {
		pins, answered := locked.Find(s.Question(), "", arch.Arch(runtime.GOARCH))
		if !answered && b.Locked {
			return nil, fmt.Errorf("%s: its lock file does not say what %q stands for on %s; run %s", r.File, s.Question(), runtime.GOARCH, lock.Command(r.Name.Value))
		}
		all = append(all, pins)
	}
	return all, nil
}

// checkTools compares the packages in a recipe's roots with what the lock file says of them.
func (b *Builder) checkTools(ctx context.Context, r *Resolved) error {
	for i, s := range Toolsets(r.Recipe, needsLibraries(b.Base)) {
		if len(r.Tools[i]) == 0 {
			continue // nothing is locked
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
				differ = append(differ, fmt.Sprintf("%s %s is locked, and not installed any more", pin.Name, pin.Version))
			default:
				differ = append(differ, fmt.Sprintf("%s %s is locked, and the archive offers %s", pin.Name, pin.Version, offered))
			}
		}
		if len(differ) == 0 {
			continue
		}
		if b.Locked {
			return fmt.Errorf("%s: of the tools that make it, %s; run %s", r.Recipe.File, strings.Join(differ, "; "), lock.Command(r.Recipe.Name.Value))
		}
		b.Log.Warn("the lock file is stale; using what the archive offers instead", "recipe", r.Recipe.Name.Value,
			"tools", strings.Join(differ, "; "), "to renew it", lock.Command(r.Recipe.Name.Value))
	}
	return nil
}
