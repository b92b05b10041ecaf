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

// Bench is what every step works with.
type Bench struct {
	Blobs     *store.Blobs
	Results   *store.Results
	Scratch   string // a directory for work that is thrown away
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

// Open opens the cache and assembles the tool root, or finds it there. The caller closes the bench.
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

// OpenCache is Open without tools: what looking things up takes.
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
	downloads := filepath.Join(b.CacheDir, "downloads")
	b.Store = fetch.New(downloads, b.Log, b.Downloads)
	b.Archive = &repository.Archive{Sources: sources, Store: b.Store, Log: b.Log, CacheDir: downloads}
	return nil
}

// Close removes unfinished work, and evicts from the cache what exceeds its limit.
func (b *Bench) Close() {
	if b.scratch == nil {
		return
	}
	if err := errors.Join(b.trim(), b.scratch.Close(), b.cache.Close()); err != nil {
		b.Log.Warn("the next run removes what this one left", "error", err)
	}
}

func (b *Bench) trim() error {
	limit := b.options.CacheLimit
	if limit == 0 {
		return nil
	}
	removed, err := b.cache.Trim(limit, b.scratch, "blobs/*/*", "results/*", "base-*", "tools-*")
	if removed > 0 {
		b.Log.Info("the cache was over CACHE_LIMIT: least recently used results are removed", "limit", limit, "removed", removed)
	}
	return err
}

// CacheName returns the name of a file or directory of the cache, wherever that lies. Directories are named after the
// digest of what they were made from.
func (b *Bench) CacheName(path string) string { return strings.TrimPrefix(path, b.CacheDir) }

// ScriptTools returns a root with packages of a suite, or of the tools' own suite when it is empty: where build scripts
// work, and for whatever else needs programs that the pipeline itself does not.
func (b *Bench) ScriptTools(ctx context.Context, suite string, packages []string) (*toolroot.Root, error) {
	release, err := b.Archive.Release(ctx, orElse(suite, toolroot.Suite), runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	return toolroot.Open(ctx, toolroot.Options{
		CacheDir: b.CacheDir, Results: b.Results, Release: release, Packages: packages, Epoch: release.SuiteDate(), Log: b.Log,
	})
}

// Factory returns what builds images for a base.
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

// Builder returns what makes trees from recipes for a base.
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

// Go returns the host's go command, which is asked once.
func (b *Bench) Go() (*golang.Toolchain, error) { return b.golang() }

// Timed says how long a part took that has no steps to count.
func (b *Bench) Timed(name string, work func() error) error {
	start := time.Now()
	err := work()
	if took := time.Since(start); err == nil && took > time.Second {
		b.Progress.Say("%s done in %.1fs", name, took.Seconds())
	}
	return err
}

// CheckHost says what the host lacks: mounting and assembling roots need the superuser, and a few programs.
func CheckHost(programs ...string) error {
	var lacking []error
	if os.Geteuid() != 0 {
		lacking = append(lacking, errors.New("this needs root, for loop mounts and to assemble the base; run it with sudo"))
	}
	programs = slices.Concat(programs, check.Programs(), []string{"go"})
	slices.Sort(programs) // several steps run some
	for _, program := range slices.Compact(programs) {
		if _, err := exec.LookPath(program); err != nil {
			lacking = append(lacking, fmt.Errorf("%s is not on this machine; scripts/mage installs it", program))
		}
	}
	return errors.Join(lacking...)
}
