// Package ci holds the targets in the namespace ci, by which several machines make and prove one release.
package ci

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/flatcar/oem-sysext/release"
)

// Matrix prints which jobs make and prove a release together.
//
// SHARDS is how many parts the work has, 4 by default, ARCH the architecture. Where GITHUB_OUTPUT names a file, the lists become
// the outputs build and prove of a workflow's step.
func Matrix() error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	parts := 4
	if text := os.Getenv("SHARDS"); text != "" {
		if parts, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("SHARDS=%s; wanted a number from 1 on", text)
		}
	}
	return release.Matrix(o, parts, os.Getenv("GITHUB_OUTPUT"), os.Stdout)
}

// Prepare makes what all parts of the work need, the tool root and the base.
//
// REMOTE_CACHE_WRITE is where they go, a directory or an address; what is in REMOTE_CACHE already is not written again.
func Prepare(ctx context.Context) error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	return release.Prepare(ctx, o)
}

// Shard makes the recipes of one part.
//
// The argument is the part, such as 2/4. REMOTE_CACHE is where the base is found, REMOTE_CACHE_WRITE where the results go.
func Shard(ctx context.Context, part string) error {
	return withPart(part, func(o release.Options, p release.Part) error { return release.Shard(ctx, o, p, os.Stdout) })
}

// Combine makes the release of what the parts have made, as scripts/mage release does of nothing.
//
// REMOTE_CACHE is where that is found. What is missing there is made, so the release is the same in any case. Exit code 3 says that the images do not fit.
func Combine(ctx context.Context) error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	m, err := release.Assemble(ctx, o)
	if err != nil {
		return err
	}
	if err := release.PrintRelease(os.Stdout, m); err != nil {
		return err
	}
	return release.Summarize(o, os.Getenv("GITHUB_STEP_SUMMARY"))
}

// Prove boots the release in virtual machines of one part of the clouds.
//
// The argument is the part, such as 2/4. The part of the proof goes to _output/proofs/VERSION/ARCH.
func Prove(ctx context.Context, part string) error {
	return withPart(part, func(o release.Options, p release.Part) error {
		proof, err := release.ProvePart(ctx, o, p)
		if err != nil {
			return err
		}
		return release.PrintProof(os.Stdout, proof)
	})
}

// Proof makes the release's proof of all parts in _output/proofs/VERSION/ARCH.
func Proof() error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	proof, err := release.MergeProofs(o)
	if err != nil {
		return err
	}
	if err := release.Summarize(o, os.Getenv("GITHUB_STEP_SUMMARY")); err != nil {
		return err
	}
	return release.PrintProof(os.Stdout, proof)
}

// Report tells of a night that failed in one issue, which is closed after a night that did not.
//
// NEEDS is the context of that name of a workflow's run, as JSON. GITHUB_REPOSITORY is OWNER/NAME, GITHUB_TOKEN may write issues.
func Report(ctx context.Context) error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	return release.ReportNight(ctx, o, os.Getenv, os.Stdout)
}

// Bump makes a pull request of each recipe for which there is something newer.
//
// The argument is the recipe's name, or all. GITHUB_REPOSITORY is OWNER/NAME, GITHUB_TOKEN may write to it and open pull requests,
// GITHUB_REF_NAME is the branch that they are for. The checkout must be clean, and stays as it was.
func Bump(ctx context.Context, recipe string) error {
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	return release.BumpRequests(ctx, o, []string{recipe}, os.Getenv, os.Stdout)
}

// Keys writes the private keys that a workflow has as secrets to files that nobody else may read.
//
// SIGNING_KEY_TEXT, MINISIGN_KEY_TEXT, UPDATE_KEY_TEXT, SYSEXT_KEY_TEXT and SYSEXT_CERTIFICATE_TEXT are their texts; those that are
// empty are left out. They go to the directory RUNNER_TEMP, and the next steps learn where they are by the file GITHUB_ENV.
func Keys() error { return release.WriteKeys(os.Getenv) }

// RemoveKeys removes the files that keys wrote.
func RemoveKeys() error { return release.RemoveKeys(os.Getenv) }

func withPart(text string, work func(release.Options, release.Part) error) error {
	part, err := release.ParsePart(text)
	if err != nil {
		return err
	}
	o, err := release.FromEnvironment(".")
	if err != nil {
		return err
	}
	return work(o, part)
}
