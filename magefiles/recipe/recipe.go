// Package recipe holds the targets in the namespace recipe.
package recipe

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/oem/definition/scaffold"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/release/care"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Check reads all recipes, lock files and platforms and reports every mistake in them.
//
// FORMAT=json prints them for programs, FORMAT=sarif for editors and code reviews.
func Check(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error {
		platforms, mistakes, err := care.Check(".", setup.DefaultBase)
		switch {
		case err != nil:
			return err
		case o.Format != setup.Text:
			err = care.WriteMistakes(os.Stdout, o.Format, mistakes)
		case len(mistakes) == 0:
			fmt.Printf("%d platforms are valid\n", platforms)
		}
		return errors.Join(err, mistakes.Err())
	})
}

// New creates a recipe from a template.
//
// The argument is its name, such as some-agent. It goes to recipes/NAME/recipe.yaml, which must not exist.
func New(name string) error {
	file, err := scaffold.Recipe(".", name)
	if err == nil {
		fmt.Printf("fill in %s; scripts/mage recipe:check lists what is missing\n", file)
	}
	return err
}

// Show builds one recipe and prints its inputs, files and sizes, and what each pattern pruned.
//
// The argument is its name, such as chrony. BASE is the OS release it is made for, VERSION that of a reference base. It fails when a build
// would: when a required file is missing, or the tree is over max_size.
func Show(ctx context.Context, name string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		explained, err := care.Show(ctx, o, name)
		if err != nil {
			return err
		}
		return errors.Join(show.Recipe(show.To(o), explained), explained.Wrong)
	})
}

// Try builds one recipe with those that it needs, checks it over the base, runs its commands, and says in ten lines what came out.
//
// The argument is its name, such as chrony. BASE is the OS release it is tried on, VERSION that of a reference base. The commands are those
// in works:, in a sandbox. It fails with all that is wrong.
func Try(ctx context.Context, name string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		tried, err := care.Try(ctx, o, name)
		if err != nil {
			return err
		}
		return show.Try(os.Stdout, tried)
	})
}

// Diff builds one recipe and prints how its inputs and files differ from those in a release.
//
// The argument is its name, such as chrony. The release is the last one of PREVIOUS, or the one in _output/VERSION/ARCH.
func Diff(ctx context.Context, name string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		diff, err := care.Diff(ctx, o, name)
		if err != nil {
			return err
		}
		return show.Diff(show.To(o), diff)
	})
}

// Schema writes the JSON schemas that editors use for recipes, platforms and profiles.
//
// They go to recipes/recipe.schema.json, platforms/platform.schema.json and release/profiles/profile.schema.json.
// Run it after changing the Go types.
func Schema() error {
	schemas, err := care.Schemas(rooted.Files("."))
	for name, content := range schemas {
		err = errors.Join(err, atomicfile.WriteBytes(name, 0o644, content))
	}
	return err
}

// Lock resolves the sources of a recipe for each architecture and writes its lock file.
//
// The argument is the recipe's name, or all. GITHUB_TOKEN raises GitHub's rate limit;
// FLATCAR_BINPKGS is the address of Flatcar's binary packages, the directory above boards/.
func Lock(ctx context.Context, name string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		changed, err := care.Lock(ctx, o, name)
		for _, file := range changed {
			fmt.Println(file)
		}
		return err
	})
}

// Bump looks up newer versions and writes them into a recipe and its lock file.
//
// The argument is the recipe's name, or all, which also moves the dates below which indexes of Debian's suites are refused as old.
// It prints the changes as a Markdown table. A failed look-up fails the run after all
// other recipes are done. GITHUB_TOKEN raises GitHub's rate limit.
func Bump(ctx context.Context, name string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		blind, err := care.NotLookedUp(o, name)
		if err != nil {
			return err
		}
		changes, err := care.Bump(ctx, o, name)
		if name == "all" {
			moved, failed := care.BumpFloors(ctx, o)
			changes, err = append(changes, moved...), errors.Join(err, failed)
		}
		return errors.Join(show.Bumped(show.To(o), changes, blind), err)
	})
}
