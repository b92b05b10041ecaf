package care

import (
	"context"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Show builds one recipe's tree for the base and returns its inputs, files and what was pruned.
func Show(ctx context.Context, o setup.Options, name string) (*oem.Explained, error) {
	found, err := definition.Recipe(rooted.Files(o.Checkout), name)
	if err != nil {
		return nil, err
	}
	r, err := release.OpenForImages(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.Bench.Close()
	factory, err := r.Factory()
	if err != nil {
		return nil, err
	}
	defer r.Bench.Downloads.End()
	return factory.Explain(ctx, found)
}
