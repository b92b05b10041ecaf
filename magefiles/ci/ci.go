// Package ci holds the targets in the namespace ci, for making and proving a release on several machines.
package ci

import (
	"context"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/magefiles/show"
	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/publish/catalogue"
	"github.com/flatcar/oem-sysext/release/publish/ci"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Check reads recipes, lock files and platforms, and marks every mistake in the lines of a pull request.
//
// It is recipe:check in the words of GitHub's runner.
func Check(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error { return ci.Annotate(o, os.Stdout) })
}

// Matrix prints the jobs that build and prove a release together.
//
// SHARDS is the number of parts, 4 by default, ARCH the architecture. If GITHUB_OUTPUT names a file, the lists become the outputs
// build and prove of the workflow's step.
func Matrix(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error { return ci.Matrix(o, target.Out()) })
}

// Prepare assembles the tool root and the base, which all parts need.
//
// They go to REMOTE_CACHE_WRITE, a directory or an address, unless REMOTE_CACHE has them already.
func Prepare(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return ci.Prepare(ctx, o)
	})
}

// Shard builds the recipes of one part.
//
// The argument is the part, such as 2/4. The base comes from REMOTE_CACHE, the results go to REMOTE_CACHE_WRITE.
func Shard(ctx context.Context, part string) error {
	return withPart(ctx, part, func(ctx context.Context, o setup.Options, p ci.Part) error { return ci.Shard(ctx, o, p, target.Out()) })
}

// Combine makes the release from the results of all parts.
//
// The results come from REMOTE_CACHE. Missing ones are built, so the release is the same as with scripts/mage release.
// Exit code 3 means that the images do not fit.
func Combine(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		m, err := release.Assemble(ctx, o)
		if err != nil {
			return err
		}
		if err := show.Release(show.To(o), m, o.Output); err != nil {
			return err
		}
		return ci.Summarize(o)
	})
}

// Prove boots the release in virtual machines of one part of the platforms and asserts what it promises.
//
// The argument is the part, such as 2/4. The part of the proof goes to _output/proofs/VERSION/ARCH.
func Prove(ctx context.Context, part string) error {
	return withPart(ctx, part, func(ctx context.Context, o setup.Options, p ci.Part) error {
		proof, err := ci.ProvePart(ctx, o, p)
		if err != nil {
			return err
		}
		return show.Proof(show.To(o), proof)
	})
}

// Proof combines the proofs of all parts into the release's proof.
//
// The parts are in _output/proofs/VERSION/ARCH.
func Proof(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error {
		proof, err := ci.MergeProofs(o)
		if err != nil {
			return err
		}
		if err := ci.Summarize(o); err != nil {
			return err
		}
		return show.Proof(show.To(o), proof)
	})
}

// Pages makes the project's web page: all platforms and recipes, with the report and the proofs of the release.
//
// VERSION, ARCH and OUTPUT choose the release. The page goes to _output/pages.
func Pages(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error {
		return catalogue.Write(filepath.Join(o.Output, "pages"), o.Checkout, o.Dir())
	})
}

// Report opens or updates one issue when the nightly fails, and closes it when it passes.
//
// NEEDS is the workflow's context needs, as JSON. GITHUB_REPOSITORY is OWNER/NAME, GITHUB_TOKEN may write issues.
func Report(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return ci.ReportNight(ctx, o, target.Out())
	})
}

// Bump opens a pull request for each recipe that has a newer version.
//
// The argument is the recipe's name, or all. GITHUB_REPOSITORY is OWNER/NAME, GITHUB_TOKEN may write to it and open pull requests,
// GITHUB_REF_NAME is their base branch. The checkout must be clean and is left unchanged.
func Bump(ctx context.Context, recipe string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return ci.BumpRequests(ctx, o, []string{recipe}, target.Out())
	})
}

// Keys writes the private keys of a workflow's secrets to files that nobody else can read.
//
// SIGNING_KEY_TEXT, MINISIGN_KEY_TEXT, UPDATE_KEY_TEXT, SYSEXT_KEY_TEXT and SYSEXT_CERTIFICATE_TEXT are the contents; empty ones
// are left out. The files go to the directory RUNNER_TEMP, and their paths to the file GITHUB_ENV for the next steps.
func Keys(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error { return ci.WriteKeys(o) })
}

// RemoveKeys removes the files that ci:keys wrote.
func RemoveKeys(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error { return ci.RemoveKeys(o) })
}

func withPart(ctx context.Context, text string, work func(context.Context, setup.Options, ci.Part) error) error {
	part, err := ci.ParsePart(text)
	if err != nil {
		return err
	}
	return target.With(ctx, func(ctx context.Context, o setup.Options) error { return work(ctx, o, part) })
}
