//go:build mage

// Builds OEM tools as systemd-sysext images and embeds them in a release.
package main

import (
	"context"
	"os"

	"github.com/flatcar/oem-sysext/release"

	//mage:import build
	_ "github.com/flatcar/oem-sysext/magefiles/build"
	//mage:import platform
	_ "github.com/flatcar/oem-sysext/magefiles/platform"
	//mage:import recipe
	_ "github.com/flatcar/oem-sysext/magefiles/recipe"
)

// Build builds the images of all platforms.
//
// VERSION is the OS release they are for, BASE the reference base.
// They go to _output/images/ARCH/oem-ID.raw.
func Build(ctx context.Context) error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	images, err := release.Build(ctx, o)
	if err != nil {
		return err
	}
	return release.PrintImages(os.Stdout, images)
}

// Release builds all images, embeds them in the base's /usr partition and writes a release.
//
// VERSION is the release's version, BASE the reference base, SOURCE_DATE_EPOCH the time of everything in it.
// It goes to _output/VERSION/ARCH.
func Release(ctx context.Context) error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	m, err := release.Assemble(ctx, o)
	if err != nil {
		return err
	}
	return release.PrintRelease(os.Stdout, m)
}

// Test runs all tests.
//
// Where CI is set, a test that cannot run here fails instead of being skipped.
func Test(ctx context.Context) error { return goTool(ctx, "test", "-timeout=40m", "./...") }

// Lint checks style, common mistakes and the direction of imports.
func Lint(ctx context.Context) error {
	return goTool(ctx, "tool", "-modfile=.ci/lint/go.mod", "golangci-lint", "run", "./...")
}

// Clean removes what was built and what was kept for later builds.
func Clean() error {
	for _, dir := range []string{release.OutputDir, release.CacheDir} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}
