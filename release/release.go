// Package release makes releases: it builds images for a base, embeds them in its USR partition, hashes the partition and
// describes the result.
package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/image/fit"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship"
)

// Assemble makes a release and writes it to OUTPUT/VERSION/ARCH. The directory is replaced as a whole or left unchanged.
func Assemble(ctx context.Context, o setup.Options) (*manifest.Manifest, error) {
	r, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.Bench.Close()
	if err := r.Keys.CheckTrusted(r.Choice.Profile); err != nil {
		return nil, err
	}
	planned, err := r.Planner().Plan(ctx)
	if err != nil {
		return nil, err
	}
	full, err := partition.Embed(ctx, r.Bench, r.Base, planned.Flat, planned.Content)
	if err != nil {
		return nil, planned.Refused(err)
	}
	shipper := r.Shipper(o)
	kernel, err := shipper.Kernel(ctx, full)
	if err != nil {
		return nil, err
	}
	m, err := shipper.Describe(ctx, planned, full, kernel)
	if err != nil {
		return nil, err
	}
	o.Version = r.Base.Version
	return m, shipper.Write(ctx, m, o.Dir())
}

// Build makes a standalone image of each platform and writes it to OUTPUT/images/ARCH/oem-ID.raw.
func Build(ctx context.Context, o setup.Options) ([]oem.Image, error) {
	r, err := OpenForImages(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.Bench.Close()
	if err := onlyRecipes(r.Choice); err != nil {
		return nil, err
	}
	factory, err := r.Factory()
	if err != nil {
		return nil, err
	}
	defer r.Bench.Downloads.End()
	images, err := factory.Build(ctx, r.Choice.Chosen)
	if err != nil {
		return nil, err
	}
	return images, ship.WriteImages(r.Bench.Blobs, filepath.Join(o.Output, "images", string(o.Arch)), images)
}

// onlyRecipes refuses platforms whose tools come from Flatcar's images.
func onlyRecipes(c *setup.Choice) error {
	for _, p := range c.Chosen {
		if origin := c.Profile.OEM.Origin(p.ID.Value); origin != profiles.FromRecipes {
			return fmt.Errorf("images are built from recipes, and the tools of %s are %s; set OEM=recipes, or run scripts/mage release", p.ID, origin)
		}
	}
	return nil
}

// Fit makes only the plan of a release. The manifest holds the plan and nothing else.
func Fit(ctx context.Context, o setup.Options) (*manifest.Manifest, error) {
	var m *manifest.Manifest
	err := withPlan(ctx, o, func(r *Run, planned *plan.Planned) error {
		m = ship.DescribePlan(r.Choice.Profile, planned)
		return nil
	})
	return m, err
}

// Explain returns why the plan packs one image as it does.
func Explain(ctx context.Context, o setup.Options, name string) (*plan.Explanation, error) {
	var e *plan.Explanation
	err := withPlan(ctx, o, func(_ *Run, planned *plan.Planned) (err error) {
		e, err = planned.Explain(ctx, name)
		return err
	})
	return e, err
}

func withPlan(ctx context.Context, o setup.Options, use func(*Run, *plan.Planned) error) error {
	r, err := Open(ctx, o)
	if err != nil {
		return err
	}
	defer r.Bench.Close()
	planned, err := r.Planner().Plan(ctx)
	if err != nil {
		return err
	}
	return use(r, planned)
}

// Initrd makes the initramfs images of all platforms with initrd: and writes them to OUTPUT/initrd/ARCH.
func Initrd(ctx context.Context, o setup.Options) ([]manifest.Initrd, error) {
	r, err := OpenForImages(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.Bench.Close()
	maker, err := r.Planner().EarlyMaker(ctx, partition.Trust{})
	if err != nil {
		return nil, err
	}
	made, err := maker.Images(ctx)
	if err != nil {
		return nil, err
	}
	if len(made) == 0 {
		return nil, errors.New("none of the chosen platforms has an initramfs image; add initrd: to its file (platforms/README.md)")
	}
	dir := filepath.Join(o.Output, "initrd", string(o.Arch))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, i := range made {
		for _, f := range i.Files {
			if err := ship.WriteBlob(r.Bench.Blobs, filepath.Join(dir, f.Name), f.SHA256); err != nil {
				return nil, err
			}
		}
	}
	return made, nil
}

// Calibrate measures how fast images of each rung are read and writes the result to the checkout.
func Calibrate(ctx context.Context, o setup.Options) (*fit.Calibration, error) {
	r, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.Bench.Close()
	c, err := r.Planner().Calibrate(ctx)
	if err != nil {
		return nil, err
	}
	encoded, err := c.Encode()
	if err != nil {
		return nil, err
	}
	return c, atomicfile.WriteBytes(filepath.Join(o.Checkout, fit.CalibrationFile), 0o644, encoded)
}
