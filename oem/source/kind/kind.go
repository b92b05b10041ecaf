// Package kind says what a kind of source does, and what it works with.
//
// Each kind is a package beside this one that implements Source, and perhaps some of the interfaces after it.
package kind

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/source/newer"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/golang"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

// Source is one source of a recipe, of whichever kind. By itself it says its kind's name, and what it leaves open.
type Source interface {
	recipe.Kind
	// Look looks up which files the source stands for, without regard to a lock file.
	Look(ctx context.Context, env *Env, a arch.Arch) ([]lock.Pin, error)
	// Unpack lays out the files that the source stands for.
	Unpack(ctx context.Context, env *Env, pins []lock.Pin, to Place) error
}

// Pinned is a source whose recipe says something itself about the content of files.
type Pinned interface {
	// Agrees tells whether a lock file says the same.
	Agrees(a arch.Arch, pins []lock.Pin) bool
}

// Unvouched is a source that only a lock file vouches for: nothing that is signed or in the recipe does.
type Unvouched interface{ NeedsLock() }

// Late is a source that is laid out when all others are, what is moved is moved, and what is compiled is there.
type Late interface {
	LayOut(env *Env, root *os.Root) error
}

// Updater is a source that names a version, of which upstream may have a newer one.
type Updater interface {
	// Newer looks for a newer version. It returns nil when there is none.
	Newer(ctx context.Context, env *Env) (*newer.Version, error)
}

// Env is what sources work with.
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

// Beside returns where a file beside a recipe lies.
func (e *Env) Beside(r *recipe.Recipe, name string) string {
	return filepath.Join(e.Checkout, filepath.Dir(r.File), name)
}

// Place is where a source lays out what it brings, and what is kept of that, by path.
type Place struct {
	Root       *os.Root
	Arch       arch.Arch
	Keep       func(name string) bool
	KeepNeeded func(name string) bool // instead, of a package that came only since another needs it
}

// About says which file an error is about.
func About(pin lock.Pin, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", pin.Name, pin.Version, err)
}
