// Package kind has the interfaces of kinds of sources, and what they work with.
//
// Each kind is a package beside this one that implements Source, and optionally the other interfaces.
package kind

import (
	"context"
	"fmt"
	"os"
	"path"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/source/newer"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/golang"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

// Source is one source of a recipe, of any kind.
type Source interface {
	recipe.Kind
	// Look resolves the source to files, ignoring the lock file.
	Look(ctx context.Context, env *Env, a arch.Arch) ([]lock.Pin, error)
	// Unpack downloads and unpacks the pinned files.
	Unpack(ctx context.Context, env *Env, pins []lock.Pin, to Place) error
}

// Pinned is a source with a digest in the recipe.
type Pinned interface {
	// Agrees tells whether the pins of a lock file match the recipe.
	Agrees(a arch.Arch, pins []lock.Pin) bool
}

// Unvouched is a source whose content only the lock file verifies: no signature and no digest in the recipe does.
type Unvouched interface{ NeedsLock() }

// Late is a source that is copied after all others are unpacked, moved and compiled.
type Late interface {
	LayOut(env *Env, root *os.Root) error
}

// Updater is a source with a version that can be updated.
type Updater interface {
	// Newer looks for a newer version, and returns nil if there is none.
	Newer(ctx context.Context, env *Env) (*newer.Version, error)
}

// Env is the environment of sources: clients, caches, base.
type Env struct {
	Checkout string // the directory that recipes/ lies in
	Archive  *repository.Archive
	Store    *fetch.Store
	GitHub   *github.Client
	Binpkgs  string // address of the mirror of Flatcar's binary packages; boards/ is below it
	Go       *golang.Toolchain
	Base     *target.Base
	Results  *store.Results
}

// Beside opens a directory beside a recipe. Nothing outside of it can be reached through the result: who wrote the recipe
// need not be who owns the host.
func (e *Env) Beside(r *recipe.Recipe, name string) (*os.Root, error) {
	return rooted.OpenDir(e.Checkout, path.Join(path.Dir(r.File), name))
}

// Place is where a source unpacks, and which paths it keeps.
type Place struct {
	Root       *os.Root
	Arch       arch.Arch
	Keep       func(name string) bool
	KeepNeeded func(name string) bool // used instead for packages that are only dependencies
	Prunes     func(name string) bool // whether a path is left out again later
}

// About adds the pin to an error.
func About(pin lock.Pin, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", pin.Name, pin.Version, err)
}
