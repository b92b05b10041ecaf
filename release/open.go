package release

import (
	"context"
	"os"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
)

// Run holds the inputs of all steps: bench, choice, base and keys. Steps read it and return their results.
type Run struct {
	Bench  *setup.Bench
	Choice *setup.Choice
	Base   *bases.Base
	Keys   *setup.Keys
}

// Open checks the options and the host, then assembles the tool root and the base, or takes them from the cache.
// Mistakes in recipes, platforms or the host are reported before anything is fetched. The caller closes the bench.
func Open(ctx context.Context, o setup.Options) (*Run, error) { return open(ctx, o, false) }

// OpenForImages is Open for building images only. Nothing is embedded or booted, so for a foreign architecture an
// incomplete base is enough.
func OpenForImages(ctx context.Context, o setup.Options) (*Run, error) { return open(ctx, o, true) }

func open(ctx context.Context, o setup.Options, imagesOnly bool) (*Run, error) {
	choice, err := setup.Choose(o)
	if err != nil {
		return nil, err
	}
	request, err := requested(o, choice, imagesOnly)
	if err != nil {
		return nil, err
	}
	if choice, err = choice.WithLayout(o.Checkout, request.Name.ID); err != nil {
		return nil, err
	}
	if err := setup.CheckHost(base.Programs()...); err != nil {
		return nil, err
	}
	bench, err := setup.OpenCache(o)
	if err != nil {
		return nil, err
	}
	r, err := openOn(ctx, bench, o, choice, request)
	if err != nil {
		bench.Close()
	}
	return r, err
}

// requested returns the request for the chosen base.
func requested(o setup.Options, choice *setup.Choice, imagesOnly bool) (bases.Request, error) {
	name, err := bases.Parse(choice.BaseID)
	if err != nil {
		return bases.Request{}, err
	}
	r := bases.Request{Name: name, Arch: o.Arch, Version: o.Version, Epoch: o.Time(), ImagesOnly: imagesOnly, Flatcar: o.Flatcar}
	if name.IsReference() && r.Version == "" {
		r.Version = setup.DefaultVersion
	}
	if r.Version != "" {
		_, err = base.VersionID(r.Version)
	}
	return r, err
}

func openOn(ctx context.Context, bench *setup.Bench, o setup.Options, choice *setup.Choice, request bases.Request) (*Run, error) {
	if err := bases.CheckEmulator(ctx, request, bench.Scratch); err != nil {
		return nil, err
	}
	keys, err := setup.OpenKeys(o, choice.Profile, bench.CacheDir)
	if err != nil {
		return nil, err
	}
	if bench, err = bench.WithTools(ctx); err != nil {
		return nil, err
	}
	opened, err := bases.Open(ctx, bench, request)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(opened.Disk); err == nil && size.Bytes(info.Size()) > manifest.MaxPublished {
		bench.Log.Warn("the disk image of the release is too large to publish on GitHub", "size", size.Bytes(info.Size()))
	}
	signed, err := opened.SignedImages(o.Kind)
	if err != nil {
		return nil, err
	}
	keys, err = keys.ForImages(o, signed, bench.CacheDir, bench.Log)
	return &Run{bench, choice, opened, keys}, err
}

// Factory returns the factory that builds images for the base.
func (r *Run) Factory() (*oem.Factory, error) {
	return r.Bench.Factory(r.Base.Target, r.Base.Epoch)
}

// Planner returns the planner of the release.
func (r *Run) Planner() *plan.Planner {
	return &plan.Planner{Bench: r.Bench, Choice: r.Choice, Base: r.Base, Keys: r.Keys}
}

// Shipper returns the shipper, which writes the release directory.
func (r *Run) Shipper(o setup.Options) *ship.Shipper {
	return &ship.Shipper{Bench: r.Bench, Choice: r.Choice, Base: r.Base, Keys: r.Keys, Checkout: o.Checkout, Source: o.Source, Output: o.Output, Releases: o.Releases}
}

// Format makes the partition of the base, without images.
func (r *Run) Format(ctx context.Context) (partition.Partition, error) {
	return partition.Format(ctx, r.Bench, r.Base, r.Updates())
}

// Updates returns the update server and key of the release's machines.
func (r *Run) Updates() partition.Updates {
	return partition.Updates{Profile: r.Choice.Profile.Update, Trusted: r.Keys.Trusted}
}
