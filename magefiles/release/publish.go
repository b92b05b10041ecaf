package release

import (
	"context"
	"time"

	"github.com/flatcar/oem-sysext/magefiles/target"
	"github.com/flatcar/oem-sysext/release/publish"
	"github.com/flatcar/oem-sysext/release/publish/ci"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Publish publishes the finished release of a version on GitHub when PUBLISH is 1, and otherwise prints what it would do.
//
// ARCH and OUTPUT choose the release, _output/VERSION/ARCH; its tag will be VERSION-ARCH. It stays a draft until every file
// has been uploaded and read back. GITHUB_REPOSITORY is OWNER/NAME, GITHUB_TOKEN may write to it, GITHUB_SHA is the commit for a new tag.
// PRERELEASE=1 makes it a pre-release; REPLACE=1 replaces or removes wrong files of a draft.
// SIGNING_KEY is an OpenPGP private key that signs SHA256SUMS, SIGNING_PASSPHRASE its passphrase; MINISIGN_KEY is a minisign
// private key without a passphrase.
func Publish(ctx context.Context, version string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		o.Version = version
		return publish.Publish(ctx, o, target.Out())
	})
}

// MayPublish checks, before a release is built, that it can be published.
//
// VERSION and ARCH choose the release, everything else is as for publish. It checks that the token may write to the repository,
// that the keys are usable, and that nothing is published under the tag yet.
func MayPublish(ctx context.Context) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return publish.MayPublish(ctx, o, target.Out())
	})
}

// Verify checks the sums, signatures and manifest of a release, and names every wrong file.
//
// The argument is its directory, or the tag of one in GITHUB_REPOSITORY. RELEASE_KEY is a file with OpenPGP public keys,
// RELEASE_MINISIGN_KEY a minisign public key; if they are set, good signatures of SHA256SUMS are required.
func Verify(ctx context.Context, dirOrTag string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return publish.Verify(ctx, o, dirOrTag, target.Out())
	})
}

// Prune removes old nightlies from GitHub when PRUNE is 1, and otherwise prints which ones.
//
// The argument is the number to keep for each architecture. Only nightlies are removed.
// GITHUB_REPOSITORY is OWNER/NAME, GITHUB_TOKEN may write to it.
func Prune(ctx context.Context, keep int) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return publish.Prune(ctx, o, keep, target.Out())
	})
}

// Diff prints what changed between two releases, as Markdown.
//
// Each is a directory, a manifest, or the tag of a release in GITHUB_REPOSITORY.
func Diff(ctx context.Context, older, newer string) error {
	return target.With(ctx, func(ctx context.Context, o setup.Options) error {
		return publish.Compare(ctx, o, older, newer, target.Out())
	})
}

// NightlyVersion prints the version of a nightly build made this minute, such as 9999.0.0+nightly-20260102-0304.
//
// VERSION is the release that nightlies lead up to. If GITHUB_ENV and GITHUB_OUTPUT name files, the version becomes VERSION in
// the next steps of the workflow's job, and the output version of this step.
func NightlyVersion(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error {
		return ci.NightlyVersion(o, time.Now(), target.Out())
	})
}

// TagVersion prints the version of a tag, such as 9999.0.0 for 9999.0.0-amd64.
//
// GITHUB_REF_NAME is the tag, ARCH the architecture. It is passed to a workflow as by nightlyVersion.
func TagVersion(ctx context.Context) error {
	return target.With(ctx, func(_ context.Context, o setup.Options) error {
		return ci.TagVersion(o, target.Out())
	})
}
