// Package build holds the targets in the namespace build.
package build

import (
	"context"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Platform builds the image of one platform.
//
// The argument is the platform's id, such as azure. The image goes to _output/images/ARCH/oem-ID.raw.
func Platform(ctx context.Context, id string) error {
	return target.For(ctx, id, func(ctx context.Context, o setup.Options) error {
		images, err := release.Build(ctx, o)
		if err != nil {
			return err
		}
		return show.Images(show.To(o), images)
	})
}
