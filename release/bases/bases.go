package release

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
)

// named is what BASE means.
type named struct {
	id      string            // what lock files and budgets call the base
	release flatcar.Reference // one of Flatcar's; zero for a reference base
}

func (n named) isReference() bool { return n.release == flatcar.Reference{} }

// nameBase tells reference bases from Flatcar's releases.
func nameBase(text string) (named, error) {
	if slices.Contains(base.IDs(), text) {
		return named{id: text}, nil
	}
	release, err := flatcar.Parse(text)
	if err != nil {
		return named{}, fmt.Errorf("BASE: %w; reference bases are %s", err, strings.Join(base.IDs(), ", "))
	}
	return named{flatcar.ID, release}, nil
}

// openBase finds the base in the cache, or puts it there.
func (w *workshop) openBase(ctx context.Context) (err error) {
	if w.named.isReference() {
		w.base, err = w.referenceBase(ctx)
	} else {
		w.base, err = w.flatcarBase(ctx)
	}
	if err != nil {
		return err
	}
	w.target, err = w.describeBase(ctx)
	return err
}

func (w *workshop) referenceBase(ctx context.Context) (base.Base, error) {
	definition, err := base.Load(w.named.id)
	if err != nil {
		return base.Base{}, err
	}
	options := base.Options{
		CacheDir:    w.Cache,
		Results:     w.results,
		Arch:        string(w.Arch),
		Version:     w.Version,
		Sources:     w.suite.SourceLines(),
		Fingerprint: w.suite.Fingerprint.String(),
		Epoch:       w.Epoch,
		Log:         w.Log,
	}
	if w.imagesOnly && string(w.Arch) != runtime.GOARCH { // also where its programs can be run: that takes long, and not every host does
		return base.Foreign(ctx, definition, w.archive, w.suite, options)
	}
	return base.Make(ctx, definition, options)
}

// flatcarBase opens one of Flatcar's releases, which decides the version and, unless that is chosen, the time of everything.
func (w *workshop) flatcarBase(ctx context.Context) (base.Base, error) {
	keys, err := flatcar.Keys(os.Getenv(flatcar.EnvKey))
	if err != nil {
		return base.Base{}, err
	}
	defer w.downloads.End()
	b, err := flatcar.Open(ctx, w.named.release, flatcar.Options{
		CacheDir: w.Cache, Arch: w.Arch, Keys: keys, Store: w.store, Results: w.results, Tools: w.tools, Log: w.Log,
		Kernel:  os.Getenv(flatcar.EnvKernel),
		Servers: orElse(os.Getenv(flatcar.EnvServers), flatcar.DefaultServers),
	})
	if err != nil {
		return b, err
	}
	if w.Version != "" && w.Version != b.Version {
		return b, fmt.Errorf("VERSION=%s, and the base is %s, whose /usr says so; leave VERSION out", w.Version, b.Version)
	}
	w.Version = b.Version
	if w.Epoch.IsZero() {
		w.Epoch = b.Epoch
	}
	return b, nil
}

// describeBase reads what building needs to know of the base.
func (w *workshop) describeBase(ctx context.Context) (*target.Base, error) {
	// The directory's name has the digest of all that the base was made from.
	usr, err := store.Memo(ctx, w.results, "base-tree", w.cacheName(w.base.Usr), store.Nothing, func() (tree.Tree, error) {
		scanned, err := tree.Scan(w.base.Usr, digest.OfReader)
		return scanned.Below("/usr"), err
	})
	if err != nil {
		return nil, err
	}
	t := &target.Base{
		Name: w.named.id, ID: "flatcar", VersionID: w.base.VersionID, Arch: w.Arch, Usr: usr, Dir: w.base.Usr,
	}
	if w.base.Config != "" { // a foreign base has none, and its images are packed without a plan
		config, err := os.ReadFile(w.base.Config)
		if err != nil {
			return nil, err
		}
		t.Kernel = target.ParseKernelConfig(string(config))
	}
	if w.base.Packages != "" {
		if t.Gentoo, err = os.ReadFile(w.base.Packages); err != nil {
			return nil, err
		}
	}
	if w.base.Status != "" {
		t.Status, err = os.ReadFile(w.base.Status)
	}
	return t, err
}
