//go:build mage

// Builds OEM tools as systemd-sysext images and embeds them in a release.
package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"

	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/setup"

	//mage:import base
	_ "github.com/flatcar/oem-sysext/magefiles/base"
	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"

	//mage:import build
	_ "github.com/flatcar/oem-sysext/magefiles/build"
	//mage:import ci
	_ "github.com/flatcar/oem-sysext/magefiles/ci"
	//mage:import compose
	_ "github.com/flatcar/oem-sysext/magefiles/compose"
	//mage:import fit
	_ "github.com/flatcar/oem-sysext/magefiles/fit"
	//mage:import initrd
	_ "github.com/flatcar/oem-sysext/magefiles/initrd"
	//mage:import payload
	_ "github.com/flatcar/oem-sysext/magefiles/payload"
	//mage:import platform
	_ "github.com/flatcar/oem-sysext/magefiles/platform"
	//mage:import prove
	_ "github.com/flatcar/oem-sysext/magefiles/prove"
	//mage:import recipe
	_ "github.com/flatcar/oem-sysext/magefiles/recipe"
	//mage:import release
	_ "github.com/flatcar/oem-sysext/magefiles/release"
)

// Build builds the images of all platforms.
//
// ARCH is their architecture, BASE the OS release they are for: a reference base, made as VERSION, or one of Flatcar's
// releases (a version, a channel, an address or a file).
// They go to _output/images/ARCH/oem-ID.raw.
func Build(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		images, err := release.Build(ctx, o)
		if err != nil {
			return err
		}
		return show.Images(show.To(o), images)
	})
}

// Release builds all images, embeds them in the base's /usr partition and writes a release.
//
// BASE is a reference base, released as VERSION, or one of Flatcar's releases, which keeps its own version:
// a version, a channel, an address or a file (release/README.md). ARCH is its architecture: a reference base of a foreign one
// needs an emulator, which scripts/mage installs. PROFILE defines the content of the release (release/profiles),
// PREVIOUS names the manifests of earlier releases, DELTA_FROM the directories of those whose machines get an update with only what has
// changed, SOURCE_DATE_EPOCH is the timestamp of everything in it.
// UPDATE_KEY is the key that signs update payloads. With only its public half, signatures are made elsewhere and taken from the
// directory UPDATE_SIGNATURES; a run that lacks some writes a signing request there.
// It goes to _output/VERSION/ARCH. Exit code 3 means that the images do not fit.
func Release(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		m, err := release.Assemble(ctx, o)
		if err != nil {
			return err
		}
		return show.Release(show.To(o), m, o.Output)
	})
}

// Compose makes a release from a profile.
//
// The argument is its name in release/profiles, or the path of its file. Everything else is as for release, which uses the
// profile default unless PROFILE names another one.
func Compose(ctx context.Context, profile string) error {
	if err := os.Setenv("PROFILE", profile); err != nil {
		return err
	}
	return Release(ctx)
}

// Initrd makes the initramfs images of all platforms with initrd:, in all forms.
//
// BASE, VERSION and ARCH are as for release, which makes these images as well. They go to _output/initrd/ARCH.
// SYSEXT_KEY signs the image for systemd-stub, with SYSEXT_CERTIFICATE.
func Initrd(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		made, err := release.Initrd(ctx, o)
		if err != nil {
			return err
		}
		return show.Initrds(show.To(o), made)
	})
}

// Prove boots the release in a virtual machine of every cloud and asserts what it promises.
//
// VERSION, ARCH and OUTPUT choose the release, _output/VERSION/ARCH, where proof.json is written.
// The console logs of machines that failed go to _output/consoles/VERSION.
func Prove(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		proven, err := prove.ThisRelease(ctx, o)
		if err != nil {
			return err
		}
		return show.Proof(show.To(o), proven)
	})
}

// Demo updates a machine in QEMU and rolls it back, and shows what happens.
//
// It makes two small releases in _output/demo, and boots a machine three times: the first release, the second one, in which a health check
// fails, and the first one again. Lines with a bar are the machine's console.
func Demo(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		proven, err := prove.Demo(ctx, o)
		if err != nil {
			return err
		}
		return show.Proof(show.To(o), proven)
	})
}

// Fit prints how each image would be packed so that all of them fit.
//
// PROFILE defines the content of the release and its budgets (release/profiles), BASE is as for release. PREVIOUS names the
// manifests of earlier releases, to show what grew. Exit code 3 means that the images do not fit.
func Fit(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		m, err := release.Fit(ctx, o)
		if err != nil {
			return err
		}
		return show.Plan(show.To(o), m)
	})
}

// Test runs all tests.
//
// If CI is set, a test that cannot run here fails instead of being skipped.
func Test(ctx context.Context) error {
	// The longest tests come first, so that no core is idle at the end. oem needs no base and runs while testrelease makes it.
	// Lint vets.
	// Tests wait for machines, downloads and locks, so there is one package more than processors.
	return goTool(ctx, "test", "-timeout=55m", "-vet=off", "-p="+strconv.Itoa(runtime.NumCPU()+1),
		"./release/testrelease", "./oem/...", "./release/prove/...", "./release/plan/...", "./...")
}

// TestNightly runs the tests that take too long for each change.
//
// They are those with the build tag nightly: the whole catalogue from several machines, a disk image with all of a base, the
// catalogue for arm64, an update with a grown image, a rollback, readers of foreign formats with all sorts of damaged inputs and with large
// real ones, and a survey of packages that are not in the catalogue.
func TestNightly(ctx context.Context) error {
	return goTool(ctx, "test", "-timeout=90m", "-vet=off", "-tags=nightly", "-run=^TestNightly",
		"./release/testrelease", "./release/testreaders", "./release/prove/story", "./release/prove/survey")
}

// TestHosts runs the entry script in root file systems of the distributions that people have.
//
// They are made of Debian's packages: Debian 12 and 13, and one with the configuration of Ubuntu 24.04. In each of them targets are listed,
// recipes are checked, and the base is shown. It needs root, and takes minutes.
func TestHosts(ctx context.Context) error {
	return goTool(ctx, "test", "-timeout=55m", "-vet=off", "-tags=hosts", "-run=^TestHosts", "./scripts")
}

// Lint checks style, common mistakes, the direction of imports, and that every function is reachable from a target.
func Lint(ctx context.Context) error {
	return errors.Join(
		goTool(ctx, "tool", "-modfile=.ci/lint/go.mod", "golangci-lint", "run", "--allow-parallel-runners", "./..."),
		deadCode(ctx),
	)
}

// Clean removes _output/ and .cache/.
func Clean() error {
	for _, dir := range []string{setup.OutputDir, setup.CacheDir} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}
