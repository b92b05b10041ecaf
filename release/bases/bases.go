// Package bases opens the OS release that images are built for and embedded in: a reference base or one of Flatcar's own,
// through one door.
package bases

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/features"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Name is what BASE means.
type Name struct {
	ID      string            // what lock files and layouts call the base
	Release flatcar.Reference // one of Flatcar's; zero for a reference base
}

// IsReference tells whether it is a reference base.
func (n Name) IsReference() bool { return n.Release == flatcar.Reference{} }

// Reference is the base itself, or the reference base that a lock file has to answer for as well.
func (n Name) Reference() string {
	if n.IsReference() {
		return n.ID
	}
	return setup.DefaultBase
}

// Parse tells reference bases from Flatcar's releases.
func Parse(text string) (Name, error) {
	if slices.Contains(base.IDs(), text) {
		return Name{ID: text}, nil
	}
	release, err := flatcar.Parse(text)
	if err != nil {
		return Name{}, fmt.Errorf("BASE: %w; reference bases are %s", err, strings.Join(base.IDs(), ", "))
	}
	return Name{flatcar.ID, release}, nil
}

// Base is an open base.
type Base struct {
	base.Base
	Name     Name
	Arch     arch.Arch
	Target   *target.Base        // what building needs to know of it
	Suite    *repository.Release // that a reference base is made from; nil for others
	Epoch    time.Time           // of everything in the release
	Features features.Features

	flatcar flatcar.Options // of one of Flatcar's releases
}

// Line names the base and those that come before and after it: releases of one line are made so that they differ as little as their
// files do. All of a reference base's definition are one line, and those of Flatcar's with one major version, for an architecture.
func (b *Base) Line() string {
	line := b.ID + " " + string(b.Arch)
	if !b.Name.IsReference() {
		major, _, _ := strings.Cut(b.VersionID, ".")
		line += " " + major
	}
	return line
}

// Request says which base, and what for.
type Request struct {
	Name       Name
	Arch       arch.Arch
	Version    string    // of a reference base; another base must have it when it is set
	Epoch      time.Time // what the base says when zero
	ImagesOnly bool      // nothing is embedded or booted: a base of another architecture than the host's need not be complete
	Flatcar    setup.Flatcar
}

// Open finds the base in the cache, or puts it there.
func Open(ctx context.Context, bench *setup.Bench, r Request) (*Base, error) {
	b := &Base{Name: r.Name, Arch: r.Arch, Epoch: r.Epoch}
	var err error
	if r.Name.IsReference() {
		err = b.openReference(ctx, bench, r)
	} else {
		err = b.openFlatcar(ctx, bench, r)
	}
	if err != nil {
		return nil, err
	}
	b.Features = features.Of(b.Systemd)
	b.Target, err = b.describe(ctx, bench)
	return b, err
}

func (b *Base) openReference(ctx context.Context, bench *setup.Bench, r Request) error {
	definition, err := base.Load(r.Name.ID)
	if err != nil {
		return err
	}
	if b.Suite, err = bench.Archive.Release(ctx, definition.Suite, string(r.Arch)); err != nil {
		return err
	}
	if b.Epoch.IsZero() {
		b.Epoch = b.Suite.SuiteDate().UTC()
	}
	options := base.Options{
		CacheDir:    bench.CacheDir,
		Results:     bench.Results,
		Arch:        string(r.Arch),
		Version:     r.Version,
		Sources:     b.Suite.SourceLines(),
		Keyring:     b.Suite.Keyring(),
		Fingerprint: b.Suite.Fingerprint.String(),
		Epoch:       b.Epoch,
		Tools:       bench.Tools,
		Log:         bench.Log,
	}
	return bench.Timed("base "+definition.ID, func() error {
		if r.ImagesOnly && string(r.Arch) != runtime.GOARCH { // also where its programs can be run: that takes long, and not every host does
			b.Base, err = base.Foreign(ctx, definition, bench.Archive, b.Suite, options)
		} else {
			b.Base, err = base.Make(ctx, definition, options)
		}
		return err
	})
}

// openFlatcar opens one of Flatcar's releases, which decides the version and, unless that is chosen, the time of everything.
func (b *Base) openFlatcar(ctx context.Context, bench *setup.Bench, r Request) error {
	keys, err := flatcar.Keys(r.Flatcar.Key)
	if err != nil {
		return err
	}
	defer bench.Downloads.End()
	b.flatcar = flatcar.Options{
		CacheDir: bench.CacheDir, Arch: r.Arch, Keys: keys, Store: bench.Store, Results: bench.Results, Tools: bench.Tools, Log: bench.Log,
		Kernel: r.Flatcar.Kernel, Servers: r.Flatcar.Server, Updates: r.Flatcar.Updates,
	}
	err = bench.Timed("base of Flatcar", func() error {
		b.Base, err = flatcar.Open(ctx, r.Name.Release, b.flatcar)
		return err
	})
	if err != nil {
		return err
	}
	if r.Version != "" && r.Version != b.Version {
		return fmt.Errorf("VERSION=%s, and the base is %s, whose /usr says so; leave VERSION out", r.Version, b.Version)
	}
	if b.Epoch.IsZero() {
		b.Epoch = b.Base.Epoch
	}
	return nil
}

// describe reads what building needs to know of the base.
func (b *Base) describe(ctx context.Context, bench *setup.Bench) (*target.Base, error) {
	// The directory's name has the digest of all that the base was made from.
	usr, err := store.Memo(ctx, bench.Results.Step("base-tree", bench.CacheName(b.Usr)), store.Nothing, func() (scanned tree.Tree, err error) {
		err = bench.Timed("files of the base", func() error {
			scanned, err = tree.Scan(b.Usr, digest.OfReader)
			return err
		})
		return scanned.Below("/usr"), err
	})
	if err != nil {
		return nil, err
	}
	t := &target.Base{Name: b.Name.ID, ID: "flatcar", VersionID: b.VersionID, Arch: b.Arch, Usr: usr, Dir: b.Usr}
	if t.Merged, err = merged(ctx, bench, b.Usr, usr); err != nil {
		return nil, err
	}
	if b.Config != "" { // a foreign base has none, and its images are packed without a plan
		config, err := os.ReadFile(b.Config)
		if err != nil {
			return nil, err
		}
		t.Kernel = target.ParseKernelConfig(string(config))
	}
	if b.Packages != "" {
		if t.Gentoo, err = os.ReadFile(b.Packages); err != nil {
			return nil, err
		}
	}
	if b.Status != "" {
		t.Status, err = os.ReadFile(b.Status)
	}
	return t, err
}

// CheckEmulator says when a reference base cannot be made here since it is for another architecture.
func CheckEmulator(ctx context.Context, r Request, scratch string) error {
	if r.ImagesOnly || !r.Name.IsReference() || string(r.Arch) == runtime.GOARCH || base.CanRun(ctx, r.Arch, scratch) {
		return nil
	}
	return fmt.Errorf("this host cannot run programs of %s, which make the base's initramfs; \"ARCH=%s scripts/mage release\" installs an emulator "+
		"(qemu-user-static) and has the kernel use it, unless /proc/sys/fs/binfmt_misc names one, which must be enabled and have the flag F; "+
		"scripts/mage build makes the images without", r.Arch, r.Arch)
}

// SignedImages tells whether images are to be signed: as was asked for, or as the base's own are.
func (b *Base) SignedImages(asked setup.ImageKind) (bool, error) {
	if asked != "" {
		return asked == setup.SignedImages, nil
	}
	if err := b.Features.Check(); err != nil {
		return false, fmt.Errorf("%w; IMAGES says whether its images are to be %s or %s", err, setup.BareImages, setup.SignedImages)
	}
	return b.Features.SignedImages(), nil
}
