// Package release makes releases: images built for a base, embedded in its USR partition, hashed, and described.
package release

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/release/bases/flatcar"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Build makes an image of each platform that stands alone, and writes them to OUTPUT/images/ARCH/oem-ID.raw.
func Build(ctx context.Context, o Options) ([]oem.Image, error) {
	w, err := openForImages(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	factory, err := w.factory(ctx)
	if err != nil {
		return nil, err
	}
	defer w.downloads.End()
	images, err := factory.Build(ctx, w.chosen)
	if err != nil {
		return nil, err
	}
	return images, w.writeImages(filepath.Join(o.Output, "images", string(o.Arch)), images)
}

// Assemble makes a release and writes it to OUTPUT/VERSION/ARCH, which appears complete or keeps what it had.
func Assemble(ctx context.Context, o Options) (*manifest.Manifest, error) {
	w, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.checkTrustedKey(); err != nil {
		return nil, err
	}
	staged, empty, plan, err := w.plan(ctx)
	if err != nil {
		return nil, err
	}
	partition, err := w.embed(ctx, plan.flat, plan.images)
	if err != nil {
		return nil, err
	}
	kernel, err := w.kernelFor(ctx, partition)
	if err != nil {
		return nil, err
	}
	m, err := w.describe(ctx, staged, plan, empty, partition, kernel)
	if err != nil {
		return nil, err
	}
	if err := w.addUpdates(ctx, m, staged, plan); err != nil {
		return nil, err
	}
	m.Initrds = w.madeInitrds
	for _, i := range m.Initrds {
		for _, f := range i.Files {
			m.Add(f)
		}
	}
	return m, w.write(ctx, m)
}

// Fit makes the plan of a release without the release. Of the manifest there is what PrintPlan prints.
func Fit(ctx context.Context, o Options) (*manifest.Manifest, error) {
	w, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	staged, _, plan, err := w.plan(ctx)
	if err != nil {
		return nil, err
	}
	m := &manifest.Manifest{Plan: manifest.Plan{Profile: w.profile.Name, Budgets: plan.budgets}}
	describePlan(m, staged, plan)
	for _, x := range w.extensions {
		m.Extensions = append(m.Extensions, describeExtension(x))
	}
	return m, nil
}

// plan makes the platforms' trees and the partition that their images go to, and packs the images so that they fit it.
func (w *workshop) plan(ctx context.Context) (staged []oem.Staged, empty partition, plan fitted, err error) {
	factory, staged, err := w.stage(ctx)
	if err != nil {
		return nil, partition{}, fitted{}, err
	}
	if empty, err = w.format(ctx); err != nil {
		return nil, partition{}, fitted{}, err
	}
	if w.extensions, err = w.compose(ctx, factory, staged); err != nil {
		return nil, empty, fitted{}, err
	}
	flat, err := w.flatten(ctx, empty)
	if err != nil {
		return nil, empty, fitted{}, err
	}
	w.flattened = empty.Free - flat.Free
	if err := w.findEarly(ctx, flat); err != nil {
		return nil, empty, fitted{}, err
	}
	if plan, err = w.fit(ctx, factory, staged, flat); err != nil {
		return nil, empty, fitted{}, err
	}
	plan.flat = flat
	made, err := w.initrds(ctx)
	if err != nil {
		return nil, empty, fitted{}, err
	}
	plan.budgets, err = countInitrds(plan.budgets, made)
	return staged, empty, plan, err
}

// stage makes the platforms' trees, for a base that is all there.
func (w *workshop) stage(ctx context.Context) (*oem.Factory, []oem.Staged, error) {
	if w.base.Kernel == "" {
		return nil, nil, fmt.Errorf("the base has no kernel; put it beside the image as %s, or name it in %s; scripts/mage build makes images without it",
			flatcar.KernelName, flatcar.EnvKernel)
	}
	factory, err := w.factory(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer w.downloads.End()
	staged, err := factory.Stage(ctx, w.chosen)
	return factory, staged, err
}
