// Package platform holds the targets in the namespace platform.
package platform

import (
	"context"
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/definition/parity"
	"github.com/flatcar/oem-sysext/oem/definition/scaffold"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/release/prove/trial"
	"github.com/flatcar/oem-sysext/release/setup"
)

// List shows all platforms with their recipes and missing tools.
func List(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error {
		platforms, err := definition.Platforms(rooted.Files("."))
		if err != nil {
			return err
		}
		return show.Platforms(show.To(o), platforms)
	})
}

// Parity compares platforms with Flatcar's own images for them.
//
// The argument is a platform's id, or all. Each row is a tool that both have, that one lacks, with the reason, or that is added where a
// profile asks for extras. It fails when a difference has no reason.
func Parity(ctx context.Context, id string) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error {
		platforms, err := definition.Platforms(rooted.Files("."))
		if err != nil {
			return err
		}
		list, err := parity.Read()
		if err != nil {
			return err
		}
		if id != "all" && !slices.Contains(setup.PlatformIDs(platforms), id) {
			return fmt.Errorf("no platform %q; scripts/mage platform:list has all", id)
		}
		rows := []parity.Row{}
		for _, p := range platforms {
			if id == "all" || id == p.ID.Value {
				rows = append(rows, list.Compare(p)...)
			}
		}
		return show.Parity(show.To(o), list, rows)
	})
}

// New creates a platform from a template.
//
// The argument is its id, such as somecloud. It goes to platforms/ID.yaml, which must not exist.
func New(id string) error {
	file, err := scaffold.Platform(".", id)
	if err == nil {
		fmt.Printf("fill in %s; scripts/mage recipe:check lists what is missing\n", file)
	}
	return err
}

// Boot boots a virtual machine with one platform's image merged and prints the states of its units.
//
// The argument is the platform's id, such as azure. BASE is the OS release that the image is for, VERSION that of a reference base.
func Boot(ctx context.Context, id string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		t, err := trial.Try(ctx, o, id)
		if err != nil {
			return err
		}
		return show.Trial(show.To(o), t)
	})
}
