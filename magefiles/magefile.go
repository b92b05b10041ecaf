//go:build mage

// Builds OEM tools as systemd-sysext images and embeds them in a release.
package main

import (
	"context"
	"os"

	//mage:import build
	_ "github.com/flatcar/oem-sysext/magefiles/build"
	//mage:import recipe
	_ "github.com/flatcar/oem-sysext/magefiles/recipe"
)

// Build builds the images of all platforms
func Build(ctx context.Context) error { return nil }

// Clean removes what was built
func Clean() error { return os.RemoveAll("_output") }
