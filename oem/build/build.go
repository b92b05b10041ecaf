// Package build makes a tree from a recipe: it resolves the recipe's sources, downloads, unpacks and compiles them,
// and installs the result below /usr.
//
// The lock file pins the files of each source (see Resolve).
// A tree is rebuilt only when one of its inputs changed: the recipe, a file beside it,
// a pinned package or module, the Go toolchain, or this package (see revision).
package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/source"
	"github.com/flatcar/oem-sysext/oem/source/dir"
	"github.com/flatcar/oem-sysext/oem/source/gomodule"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/golang"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

// revision is part of the cache key. Raise it when the same inputs give a different tree.
const revision = 8

// Builder makes trees for one base.
type Builder struct {
	Checkout string // the directory that recipes/ lies in
	Archive  *repository.Archive
	Store    *fetch.Store
	GitHub   *github.Client
	Binpkgs  string // address of the mirror of Flatcar's binary packages; boards/ is below it
	Locked   bool   // use only what lock files pin; never look anything up
	Log      *slog.Logger
	Go       *golang.Toolchain
	Base     *target.Base
	Blobs    *store.Blobs
	Results  *store.Results
	Scratch  string // directory for temporary files
	// Tools returns a root with packages of a suite, for build scripts; the suite of the tool root if empty.
	Tools func(ctx context.Context, suite string, packages []string) (*toolroot.Root, error)
	Epoch time.Time    // SOURCE_DATE_EPOCH for scripts
	Kinds source.Kinds // of sources; all if empty
}

// Env returns the environment of sources.
func (b *Builder) Env() *kind.Env {
	return &kind.Env{
		Checkout: b.Checkout, Archive: b.Archive, Store: b.Store, GitHub: b.GitHub, Binpkgs: b.Binpkgs,
		Go: b.Go, Base: b.Base, Results: b.Results,
	}
}

func (b *Builder) kinds() source.Kinds {
	if b.Kinds == nil {
		return source.All
	}
	return b.Kinds
}

// Resolved is a recipe with the files of all its sources.
type Resolved struct {
	Recipe *recipe.Recipe
	Arch   arch.Arch
	Pins   [][]lock.Pin // files of each source, in unpacking order
	Tools  [][]lock.Pin // locked packages of each toolset; nil if not locked
	Locked bool         // some pins come from the lock file
	Beside tree.Tree    // the files beside the recipe
}

// Inputs lists the inputs of the tree.
func (r *Resolved) Inputs() []input.Input {
	var inputs []input.Input
	for i, pins := range r.Pins {
		for _, p := range pins {
			kind := r.Recipe.Sources[i].Kind()
			inputs = append(inputs, input.Input{Kind: kind, Name: p.Name, Version: p.Version, Digest: string(p.Digest)})
		}
	}
	for _, e := range r.Beside {
		if e.Type == tree.File {
			name := path.Join(r.Recipe.Name.Value, e.Path)
			inputs = append(inputs, input.Input{Kind: "file", Name: name, Digest: "sha256:" + e.SHA256.String()})
		}
	}
	return inputs
}

// Tree returns the recipe's tree in the layout of the base, from the cache or newly built.
//
// If the archive no longer has a locked file and the builder is not Locked, r is resolved again and updated.
func (b *Builder) Tree(ctx context.Context, r *Resolved) (tree.Tree, error) {
	made, err := b.tree(ctx, r)
	var gone *kind.GoneError
	if errors.As(err, &gone) && r.Locked && !b.Locked {
		b.Log.Warn("the lock file is stale; using what the archive offers instead", "recipe", r.Recipe.Name.Value, "error", err)
		fresh, resolveErr := b.resolve(ctx, r.Recipe, r.Arch, &lock.Lock{})
		if resolveErr != nil {
			return nil, errors.Join(err, resolveErr)
		}
		*r = *fresh
		made, err = b.tree(ctx, r)
	}
	return made, err
}

func (b *Builder) tree(ctx context.Context, r *Resolved) (tree.Tree, error) {
	names := func(t tree.Tree) (named []store.Blob) {
		for _, e := range t {
			if e.Type == tree.File {
				named = append(named, store.Blob{SHA256: e.SHA256, Size: e.Size})
			}
		}
		return named
	}
	key, err := b.key(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("recipe %s for %s: %w", r.Recipe.Name, r.Arch, err)
	}
	made, err := store.Memo(ctx, b.Results.Step("tree", key), names, func() (tree.Tree, error) { return b.make(ctx, r) })
	if err == nil {
		made, err = b.Base.Lay(made)
	}
	if err != nil {
		return nil, fmt.Errorf("recipe %s for %s: %w", r.Recipe.Name, r.Arch, err)
	}
	return made, nil
}

// key is the cache key of make: everything that it reads.
func (b *Builder) key(ctx context.Context, r *Resolved) ([]any, error) {
	q := r.Recipe
	key := []any{revision, r.Arch, r.Inputs(), r.Beside, q.Sources, q.Build, q.Files.Value, q.Move, q.Units, q.Prune, q.Requires, slices.Sorted(maps.Keys(q.Special))}
	if q.GoModule() != nil {
		key = append(key, b.Go.Version)
	}
	if err := b.checkTools(ctx, r); err != nil {
		return nil, err
	}
	if q.HasPackages() && needsLibraries(b.Base) {
		tools, err := b.open(ctx, patchelf)
		if err != nil {
			return nil, err
		}
		libraries, err := b.Base.LibraryDir()
		if err != nil {
			return nil, err
		}
		key = append(key, tools.Versions("patchelf"), libraries)
	}
	if q.Build.Script != nil {
		tools, err := b.open(ctx, scriptToolset(q.Build.Script))
		if err != nil {
			return nil, err
		}
		key = append(key, tools.Digest(), b.Epoch.Unix())
	}
	return key, nil
}

func (b *Builder) make(ctx context.Context, r *Resolved) (tree.Tree, error) {
	scanned, err := b.scan(ctx, r)
	if err != nil {
		return nil, err
	}
	made := finish(scanned, r.Recipe)
	return made, errors.Join(b.checkRequires(made, r.Recipe), b.checkEtc(scanned, made, r.Recipe))
}

// scan returns everything that the recipe installs, before pruning.
func (b *Builder) scan(ctx context.Context, r *Resolved) (tree.Tree, error) {
	root, err := newRoot(b.Scratch)
	if err != nil {
		return nil, err
	}
	defer removeRoot(root)
	if err := b.layOut(ctx, r, root); err != nil {
		return nil, err
	}
	return tree.Scan(root.Name(), b.Blobs.Add)
}

// newRoot makes an empty directory below scratch; removeRoot removes it.
func newRoot(scratch string) (*os.Root, error) {
	dir, err := os.MkdirTemp(scratch, "build.")
	if err != nil {
		return nil, err
	}
	return os.OpenRoot(dir)
}

func removeRoot(root *os.Root) {
	root.Close()
	os.RemoveAll(root.Name())
}

// layOut fills root: with the sources and compiled programs or the output of the script, then with the files beside the recipe.
func (b *Builder) layOut(ctx context.Context, r *Resolved, root *os.Root) error {
	if r.Recipe.Build.Script == nil {
		if err := b.gather(ctx, r, root); err != nil {
			return err
		}
	} else if err := b.script(ctx, r, root); err != nil {
		return err
	}
	if r.Recipe.Files.Value != "" {
		if err := dir.Copy(root, b.Env(), r.Recipe, r.Recipe.Files.Value, "/"); err != nil {
			return err
		}
	}
	return upholds(root, r.Recipe)
}

// gather unpacks the sources and compiles programs.
func (b *Builder) gather(ctx context.Context, r *Resolved, root *os.Root) error {
	own, err := b.unpack(ctx, r, root)
	if err != nil {
		return err
	}
	if err := b.makePrivate(ctx, r, root, own); err != nil {
		return err
	}
	if err := move(root, r.Recipe); err != nil {
		return err
	}
	if err := b.compile(ctx, r, root); err != nil {
		return err
	}
	for _, one := range r.Recipe.Sources {
		if late, is := b.kinds().Of(r.Recipe, one).(kind.Late); is {
			if err := late.LayOut(b.Env(), root); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Builder) compile(ctx context.Context, r *Resolved, root *os.Root) error {
	if r.Recipe.GoModule() == nil {
		return nil
	}
	module, err := b.Go.Source(ctx, gomodule.Module(r.Recipe.GoModule()))
	if err != nil {
		return err
	}
	for _, program := range r.Recipe.Build.Go {
		made := golang.Program{Package: program.Package, To: string(program.To)}
		if err := makeDir(root, path.Dir(string(program.To))); err != nil {
			return err
		}
		if err := b.Go.Build(ctx, module, r.Arch, made, root.Name()); err != nil {
			return fmt.Errorf("%s:%d: %w", r.Recipe.File, r.Recipe.GoModule().Line, err)
		}
	}
	return nil
}

// finish keeps what is below /usr and not pruned, owned by root.
func finish(scanned tree.Tree, r *recipe.Recipe) tree.Tree {
	below := scanned.Filter(func(e tree.Entry) bool { return strings.HasPrefix(e.Path, "/usr/") })
	kept := prune(below, append(never, r.Prune...))
	for i := range kept {
		kept[i].UID, kept[i].GID = 0, 0
	}
	return kept
}

// scanBeside reads the files beside a recipe that are inputs of its tree.
func scanBeside(env *kind.Env, r *recipe.Recipe) (tree.Tree, error) {
	var found tree.Tree
	for _, dir := range r.Beside() {
		root, err := env.Beside(r, dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		part, err := tree.Scan(root.Name(), digest.OfReader)
		if err != nil {
			return nil, err
		}
		for _, e := range part {
			e.Path = path.Join("/", dir, e.Path)
			e.UID, e.GID, e.Xattrs = 0, 0, nil
			e.Mode &= 0o100 // dir.Copy ignores the rest
			found = append(found, e)
		}
	}
	return tree.Sorted(found), nil
}
