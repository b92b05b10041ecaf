package setup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/golang"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

// Bench holds what every step needs: cache, tools, scratch directory and progress.
type Bench struct {
	Blobs     *store.Blobs
	Results   *store.Results
	Scratch   string // temporary directory, removed at the end of the run
	CacheDir  string // absolute
	Tools     *toolroot.Root
	Store     *fetch.Store
	Archive   *repository.Archive
	Log       *slog.Logger
	Progress  *progress.Display
	Downloads *progress.Downloads
	Jobs      int

	golang  func() (*golang.Toolchain, error)
	options Options
	cache   *store.Cache
	scratch *store.Scratch
}

// Open opens the cache and assembles the tool root, or takes it from the cache. The caller closes the bench.
func Open(ctx context.Context, o Options) (*Bench, error) {
	b, err := OpenCache(o)
	if err != nil {
		return nil, err
	}
	with, err := b.WithTools(ctx)
	if err != nil {
		b.Close()
	}
	return with, err
}

// WithTools returns the same bench with the tool root. Closing one of them closes both.
func (b *Bench) WithTools(ctx context.Context) (*Bench, error) {
	tools, err := b.ScriptTools(ctx, "", nil)
	with := *b
	with.Tools = tools
	return &with, err
}

// OpenCache is Open without the tool root, which look-ups do not need.
func OpenCache(o Options) (*Bench, error) {
	b := &Bench{Log: o.Log, Progress: o.Progress, Downloads: progress.NewDownloads(o.Progress), Jobs: o.Parallel(), options: o}
	b.golang = sync.OnceValues(func() (*golang.Toolchain, error) { return golang.Find(context.Background()) })
	err := b.openCache()
	if err == nil {
		err = b.openArchive()
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bench) openCache() (err error) {
	if b.CacheDir, err = filepath.Abs(b.options.Cache); err != nil {
		return err
	}
	if b.cache, err = store.OpenCache(b.CacheDir); err != nil {
		return err
	}
	if b.scratch, err = store.OpenScratch(filepath.Join(b.CacheDir, "scratch")); err != nil {
		return err
	}
	b.Scratch = b.scratch.Dir
	if b.Blobs, err = store.OpenBlobs(filepath.Join(b.CacheDir, "blobs"), b.Scratch); err != nil {
		return err
	}
	shared, err := store.OpenShared(b.options.RemoteCache, b.options.RemoteCacheWrite, b.Log)
	if err != nil {
		return fmt.Errorf("REMOTE_CACHE, REMOTE_CACHE_WRITE: %w", err)
	}
	b.Results, err = store.OpenResults(filepath.Join(b.CacheDir, "results"), b.Blobs, shared)
	return err
}

func (b *Bench) openArchive() error {
	sources, err := repository.HostSources("/etc/apt", b.options.Getenv)
	if err != nil {
		return err
	}
	floors, err := repository.KnownFloors()
	if err != nil {
		return err
	}
	downloads := filepath.Join(b.CacheDir, "downloads")
	b.Store = fetch.New(downloads, b.Log, b.Downloads)
	b.Archive = &repository.Archive{Sources: sources, Store: b.Store, Log: b.Log, CacheDir: downloads, Floors: floors}
	return nil
}

// Close removes unfinished work and evicts the least recently used results above the cache's limit.
func (b *Bench) Close() {
	if b.scratch == nil {
		return
	}
	if err := errors.Join(b.trim(), b.scratch.Close(), b.cache.Close()); err != nil {
		b.Log.Warn("could not clean up; the next run will", "error", err)
	}
}

func (b *Bench) trim() error {
	limit := b.options.CacheLimit
	if limit == 0 {
		return nil
	}
	removed, err := b.cache.Trim(limit, b.scratch, "blobs/*/*", "results/*", "base-*", "tools-*")
	if removed > 0 {
		b.Log.Info("removed the least recently used results; the cache was over CACHE_LIMIT", "limit", limit, "removed", removed)
	}
	return err
}

// CacheName returns the path of a file or directory relative to the cache. Directories are named after the digest of
// their inputs.
func (b *Bench) CacheName(path string) string { return strings.TrimPrefix(path, b.CacheDir) }

// ScriptTools returns a root with packages of a suite (of the tool root's suite when empty): for build scripts and
// everything else that needs programs outside of the tool root.
func (b *Bench) ScriptTools(ctx context.Context, suite string, packages []string) (*toolroot.Root, error) {
	release, err := b.Archive.Release(ctx, orElse(suite, toolroot.Suite), runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	var root *toolroot.Root
	err = b.Timed("root with tools of "+release.Suite, func() error {
		root, err = toolroot.Open(ctx, toolroot.Options{
			CacheDir: b.CacheDir, Results: b.Results, Release: release, Packages: packages, Epoch: release.SuiteDate(), Log: b.Log,
		})
		return err
	})
	return root, err
}

// Factory returns the factory that builds images for a base.
func (b *Bench) Factory(base *target.Base, epoch time.Time) (*oem.Factory, error) {
	builder, err := b.Builder(base, epoch)
	if err != nil {
		return nil, err
	}
	return &oem.Factory{
		Base:     base,
		Builder:  builder,
		Packer:   &pack.Packer{Tools: b.Tools, Blobs: b.Blobs, Results: b.Results, Scratch: b.Scratch, Epoch: epoch},
		Blobs:    b.Blobs,
		Progress: b.Progress,
		Jobs:     b.Jobs,
	}, nil
}

// Builder returns the builder that makes trees from recipes for a base.
func (b *Bench) Builder(base *target.Base, epoch time.Time) (*build.Builder, error) {
	toolchain, err := b.Go()
	if err != nil {
		return nil, err
	}
	hub, err := github.New(b.options.Getenv, b.Log)
	if err != nil {
		return nil, err
	}
	return &build.Builder{
		Checkout: b.options.Checkout, Archive: b.Archive, Store: b.Store, GitHub: hub, Binpkgs: b.options.Flatcar.Binary,
		Locked: b.options.Locked, Log: b.Log, Go: toolchain, Base: base,
		Blobs: b.Blobs, Results: b.Results, Scratch: b.Scratch, Tools: b.ScriptTools, Epoch: epoch,
	}, nil
}

// Go returns the host's go command. It is looked up once.
func (b *Bench) Go() (*golang.Toolchain, error) { return b.golang() }

// Timed runs a step without countable items, and shows that it is running and how long it took.
func (b *Bench) Timed(name string, work func() error) error {
	step := b.Progress.Task(name)
	if err := work(); err != nil {
		step.Stop()
		return err
	}
	step.End()
	return nil
}

// CheckHost returns everything that the host lacks: root privileges, for mounting and assembling roots, or programs.
func CheckHost(programs ...string) error {
	var lacking []error
	if os.Geteuid() != 0 {
		lacking = append(lacking, errors.New("not running as root, which loop mounts and assembling the base need; run it with sudo, and with settings behind that, which sudo drops otherwise: sudo BASE=stable scripts/mage release"))
	}
	programs = slices.Concat(programs, check.Programs(), []string{"go"})
	slices.Sort(programs) // several steps need the same ones
	for _, program := range slices.Compact(programs) {
		if _, err := exec.LookPath(program); err != nil {
			lacking = append(lacking, fmt.Errorf("%s is not installed; scripts/mage installs it", program))
		}
	}
	return errors.Join(lacking...)
}
