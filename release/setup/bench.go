package release

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/publish"
)

// workshop is what a run works with, all of it found or made before the work begins.
type workshop struct {
	Options
	imagesOnly bool                 // nothing is embedded and booted, so for an architecture that is not the host's a base need not be complete
	catalogue  []*platform.Platform // all that there are
	chosen     []*platform.Platform // those that were asked for
	recipes    recipe.Set
	profile    *profiles.Profile
	layout     layout
	// extensions beside the OEM tools, and what those take of /usr that are flattened.
	extensions []*composed
	flattened  size.Bytes
	// early is what the second stage of the base's initramfs gets beside the activation, and earlySize what it takes of /usr.
	early       []embed.File
	earlySize   size.Bytes
	madeInitrds []manifest.Initrd
	downloads   *progress.Downloads
	store       *fetch.Store
	archive     *debian.Archive
	named       named           // what BASE means
	suite       *debian.Release // that a reference base is made from
	bootKey     *sign.Signer    // for Secure Boot; nil when kernels are not signed
	tools       *toolroot.Root
	base        base.Base
	target      *target.Base
	blobs       *store.Blobs
	results     *store.Results
	kept        *store.Cache
	scratch     *store.Scratch
	updateKey   *sign.Signer
	trustedKey  *rsa.PublicKey // that machines verify updates with, where the profile says so
	imageKey    *sign.Signer   // for images; nil when they are bare
	// measureKey stands for imageKey while images are measured.
	measureKey *sign.Signer
}

// open checks what was asked and what the host has, then assembles tools and base, or finds them in the cache.
// What is wrong with recipes, platforms or the host is said before anything is fetched.
// The caller closes the workshop.
func open(ctx context.Context, o Options) (*workshop, error) {
	return start(ctx, &workshop{Options: o, downloads: progress.NewDownloads(o.Progress)})
}

// openForImages is open for work on images alone.
func openForImages(ctx context.Context, o Options) (*workshop, error) {
	return start(ctx, &workshop{Options: o, downloads: progress.NewDownloads(o.Progress), imagesOnly: true})
}

func start(ctx context.Context, w *workshop) (*workshop, error) {
	if err := w.prepare(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// openCached is open without platforms, tools and a base: what looking things up takes.
func openCached(ctx context.Context, o Options) (*workshop, error) {
	w := &workshop{Options: o, downloads: progress.NewDownloads(o.Progress)}
	var err error
	if w.named, err = nameBase(orElse(o.BaseID, DefaultBase)); err != nil {
		return nil, err
	}
	err = w.openCache()
	if err == nil {
		err = w.openArchive(ctx)
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *workshop) prepare(ctx context.Context) (err error) {
	if err := w.choosePlatforms(); err != nil {
		return err
	}
	if w.named, err = nameBase(w.BaseID); err != nil {
		return err
	}
	if w.named.isReference() {
		w.Version = orElse(w.Version, DefaultVersion)
	}
	if _, err := base.VersionID(w.Version); w.Version != "" && err != nil {
		return err
	}
	if w.layout, err = layoutFor(layoutsYAML, w.profile, w.named.id); err != nil {
		return err
	}
	if _, err := w.previousReleases(); err != nil {
		return err
	}
	if w.SecureBoot.Key != "" {
		if w.bootKey, err = sign.Open(w.SecureBoot); err != nil {
			return fmt.Errorf("SECURE_BOOT_KEY, SECURE_BOOT_CERTIFICATE, SECURE_BOOT_SIGNATURES: %w", err)
		}
	}
	if err := checkHost(); err != nil {
		return err
	}
	if err := w.openCache(); err != nil {
		return err
	}
	if err := w.checkEmulator(ctx); err != nil {
		return err
	}
	if err := w.openUpdateKey(); err != nil {
		return err
	}
	if err := w.openArchive(ctx); err != nil {
		return err
	}
	if err := w.openTools(ctx); err != nil {
		return err
	}
	if err := w.openBase(ctx); err != nil {
		return err
	}
	if info, err := os.Stat(w.base.Disk); err == nil && size.Bytes(info.Size()) > publish.MaxAsset {
		w.Log.Warn("the release has a disk image that is too large to be published on GitHub", "size", size.Bytes(info.Size()))
	}
	return w.openImageKey()
}

// choosePlatforms reads all definitions and the profile, which says what nobody asked for.
func (w *workshop) choosePlatforms() (err error) {
	if w.catalogue, w.recipes, err = oem.AllDefinitions(os.DirFS(w.Checkout)); err != nil {
		return err
	}
	if err := w.loadProfile(); err != nil {
		return err
	}
	w.chosen, err = oem.Select(w.catalogue, w.Arch, w.Platforms...)
	return err
}

func platformIDs(platforms []*platform.Platform) []string {
	ids := make([]string, len(platforms))
	for i, p := range platforms {
		ids[i] = p.ID.Value
	}
	return ids
}

// checkHost says what the host lacks: mounting and assembling roots need the superuser, and a few programs.
func checkHost() error {
	var lacking []error
	if os.Geteuid() != 0 {
		lacking = append(lacking, errors.New("this needs root, for loop mounts and to assemble the base; run it with sudo"))
	}
	for _, program := range append(base.Programs(), "go") {
		if _, err := exec.LookPath(program); err != nil {
			lacking = append(lacking, fmt.Errorf("%s is not on this machine; scripts/mage installs it", program))
		}
	}
	return errors.Join(lacking...)
}

// checkEmulator says when a reference base cannot be made here since it is for another architecture.
func (w *workshop) checkEmulator(ctx context.Context) error {
	if w.imagesOnly || !w.named.isReference() || string(w.Arch) == runtime.GOARCH || base.CanRun(ctx, w.Arch, w.scratch.Dir) {
		return nil
	}
	return fmt.Errorf("this host cannot run programs of %s, which make the base's initramfs; \"ARCH=%s scripts/mage release\" installs an emulator "+
		"(qemu-user-static) and has the kernel use it, unless /proc/sys/fs/binfmt_misc names one, which must be enabled and have the flag F; "+
		"scripts/mage build makes the images without", w.Arch, w.Arch)
}

func (w *workshop) openCache() error {
	cache, err := filepath.Abs(w.Cache)
	if err != nil {
		return err
	}
	w.Cache = cache
	if w.kept, err = store.OpenCache(cache); err != nil {
		return err
	}
	if w.scratch, err = store.OpenScratch(filepath.Join(cache, "scratch")); err != nil {
		return err
	}
	if w.blobs, err = store.OpenBlobs(filepath.Join(cache, "blobs"), w.scratch.Dir); err != nil {
		return err
	}
	shared, err := store.OpenShared(w.RemoteCache, w.RemoteCacheWrite, w.Log)
	if err != nil {
		return fmt.Errorf("REMOTE_CACHE, REMOTE_CACHE_WRITE: %w", err)
	}
	w.results, err = store.OpenResults(filepath.Join(cache, "results"), w.blobs, shared)
	return err
}

// cacheName returns the name of a file or directory of the cache, wherever that lies. Directories are named after the digest of
// what they were made from.
func (w *workshop) cacheName(path string) string { return strings.TrimPrefix(path, w.Cache) }

// close removes what is unfinished, and what there is too much of in the cache.
func (w *workshop) close() {
	if w.scratch == nil {
		return
	}
	if err := errors.Join(w.trim(), w.scratch.Close(), w.kept.Close()); err != nil {
		w.Log.Warn("the next run removes what this one left", "error", err)
	}
}

func (w *workshop) trim() error {
	if w.CacheLimit == 0 {
		return nil
	}
	removed, err := w.kept.Trim(w.CacheLimit, w.scratch, "blobs/*/*", "results/*", "base-*", "tools-*")
	if removed > 0 {
		w.Log.Info("the cache was over CACHE_LIMIT: what was not used for longest is removed", "limit", w.CacheLimit, "removed", removed)
	}
	return err
}

func (w *workshop) openArchive(ctx context.Context) error {
	sources, err := debian.HostSources("/etc/apt", os.Getenv)
	if err != nil {
		return err
	}
	w.store = fetch.New(filepath.Join(w.Cache, "downloads"), w.Log, w.downloads)
	w.archive = &debian.Archive{
		Sources:  sources,
		Store:    w.store,
		Log:      w.Log,
		CacheDir: filepath.Join(w.Cache, "downloads"),
	}
	if !w.named.isReference() {
		return nil
	}
	definition, err := base.Load(w.named.id)
	if err != nil {
		return err
	}
	if w.suite, err = w.archive.Release(ctx, definition.Suite, string(w.Arch)); err != nil {
		return err
	}
	if w.Epoch.IsZero() {
		w.Epoch = w.suite.SuiteDate().UTC()
	}
	return nil
}

func (w *workshop) openTools(ctx context.Context) error {
	suite, err := w.archive.Release(ctx, toolroot.Suite, runtime.GOARCH)
	if err != nil {
		return err
	}
	w.tools, err = toolroot.Open(ctx, toolroot.Options{CacheDir: w.Cache, Results: w.results, Release: suite, Epoch: suite.SuiteDate(), Log: w.Log})
	return err
}

// accelerator returns how machines with a kernel run here.
func (w *workshop) accelerator(ctx context.Context, kernel string) (vm.Accel, error) {
	qemu, err := w.scriptTools(ctx, "", vm.Packages(w.Arch))
	if err != nil {
		return vm.Accel{}, err
	}
	return vm.Probe(ctx, qemu, w.Arch, kernel)
}

// scriptTools returns the root that build scripts work in, and whatever else needs programs that the pipeline itself does not.
func (w *workshop) scriptTools(ctx context.Context, suite string, packages []string) (*toolroot.Root, error) {
	release, err := w.archive.Release(ctx, orElse(suite, toolroot.Suite), runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	return toolroot.Open(ctx, toolroot.Options{
		CacheDir: w.Cache, Results: w.results, Release: release, Packages: packages, Epoch: release.SuiteDate(), Log: w.Log,
	})
}

// factory returns what builds the images.
func (w *workshop) factory(ctx context.Context) (*oem.Factory, error) {
	builder, err := w.builder(ctx, w.target)
	if err != nil {
		return nil, err
	}
	return &oem.Factory{
		Base:     w.target,
		Builder:  builder,
		Packer:   &pack.Packer{Tools: w.tools, Blobs: w.blobs, Results: w.results, Scratch: w.scratch.Dir, Epoch: w.Epoch},
		Blobs:    w.blobs,
		Progress: w.Progress,
		Jobs:     w.Jobs,
	}, nil
}

// builder returns what makes trees from recipes for a base.
func (w *workshop) builder(ctx context.Context, from *target.Base) (*build.Builder, error) {
	golang, err := build.FindGo(ctx)
	if err != nil {
		return nil, err
	}
	hub, err := github.New(os.Getenv, w.Log)
	if err != nil {
		return nil, err
	}
	return &build.Builder{
		Checkout: w.Checkout, Archive: w.archive, Store: w.store, GitHub: hub, Binpkgs: os.Getenv(build.EnvBinpkgs),
		Locked: w.Locked, Log: w.Log, Go: golang, Base: from,
		Blobs: w.blobs, Results: w.results, Scratch: w.scratch.Dir, Tools: w.scriptTools, Epoch: w.Epoch,
	}, nil
}

// previousReleases reads the manifests of earlier releases, the oldest first.
func (w *workshop) previousReleases() ([]*manifest.Manifest, error) {
	var all []*manifest.Manifest
	for _, path := range w.Previous {
		m, err := manifest.Read(path)
		if err != nil {
			return nil, fmt.Errorf("PREVIOUS: %w", err)
		}
		all = append(all, m)
	}
	return all, nil
}

// timed says how long a part took that has no steps to count.
func (w *workshop) timed(name string, work func() error) error {
	start := time.Now()
	err := work()
	if took := time.Since(start); err == nil && took > time.Second {
		w.Progress.Say("%s done in %.1fs", name, took.Seconds())
	}
	return err
}
