// Package build holds the targets in the namespace build.
package build

import (
	"context"
	"os"

	"github.com/flatcar/oem-sysext/release"
)

// Platform builds the image of one platform.
//
// The argument is the platform's id, such as azure. The image goes to _output/images/ARCH/oem-ID.raw.
func Platform(ctx context.Context, id string) error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	o.Platforms = []string{id}
	images, err := release.Build(ctx, o)
	if err != nil {
		return err
	}
	return release.PrintImages(os.Stdout, images)
}
