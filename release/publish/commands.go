package release

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/publish"
	"github.com/flatcar/oem-sysext/release/ship/report"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// stallTimeout is how long a server may take nothing of an upload.
const stallTimeout = 2 * time.Minute

// isLater tells whether a file is added to a release that is complete without it, and is about these very files.
func isLater(name string) bool {
	return verify.IsProof(name) || name == verify.OpenPGPName || name == verify.SysupdateName || name == verify.MinisignName
}

// Publish puts the release in OUTPUT/VERSION/ARCH on GitHub, as the environment says: GITHUB_REPOSITORY, GITHUB_TOKEN, GITHUB_SHA,
// PRERELEASE and REPLACE. It signs its sums first where there are keys (Sign). Without PUBLISH it writes to out what it would do.
func Publish(ctx context.Context, o Options, getenv func(string) string, out io.Writer) error {
	apply, err := flag(getenv, "PUBLISH")
	if err != nil {
		return err
	}
	prerelease, err := flag(getenv, "PRERELEASE")
	if err != nil {
		return err
	}
	publisher, err := o.publisher(getenv)
	if err != nil {
		return err
	}
	if publisher.Replace, err = flag(getenv, "REPLACE"); err != nil {
		return err
	}
	if err := Sign(o.Dir(), getenv, time.Now()); err != nil {
		return err
	}
	checked, err := o.verify(ctx, verify.Directory(o.Dir()), verify.Keys{})
	if err == nil {
		err = checked.Err()
	}
	if err != nil {
		return fmt.Errorf("%s cannot be published: %w", o.Dir(), err)
	}
	m := checked.Manifest
	notes, err := o.notes(ctx, publisher, m, prerelease)
	if err != nil {
		return err
	}
	return publisher.Publish(ctx, &publish.Release{
		Dir: o.Dir(), Tag: publish.Tag(m.Version, m.Arch), Commit: getenv("GITHUB_SHA"),
		Title: fmt.Sprintf("OEM tools %s, %s", m.Version, m.Arch), Notes: notes, Prerelease: prerelease, Files: checked.Files,
	}, apply, out)
}

// MayPublish looks before a release is built whether it can be published: the environment is as for Publish, the token may write,
// the keys that are named can be used, nothing was published under the tag yet, and the base is no file that makes one of the release
// larger than GitHub takes.
func MayPublish(ctx context.Context, o Options, getenv func(string) string, out io.Writer) error {
	publisher, err := o.publisher(getenv)
	if err != nil {
		return err
	}
	if err := tryKeys(getenv); err != nil {
		return err
	}
	if info, err := os.Stat(o.BaseID); err == nil && info.Mode().IsRegular() && size.Bytes(info.Size()) > publish.MaxAsset {
		return fmt.Errorf("BASE=%s has %v, and so will the disk image of the release; GitHub takes less than 2 GiB: wanted a partition, or an update payload", o.BaseID, size.Bytes(info.Size()))
	}
	tag := publish.Tag(orElse(o.Version, DefaultVersion), string(o.Arch))
	if err := publisher.MayPublish(ctx, tag); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s may be published at %s\n", tag, publisher.Repository)
	return err
}

// tryKeys makes signatures that nobody needs.
func tryKeys(getenv func(string) string) error {
	dir, err := os.MkdirTemp("", "keys.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := &manifest.Manifest{Schema: manifest.Schema}
	encoded, err := m.Encode()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{sumsFile: nil, manifest.FileName: encoded} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return Sign(dir, getenv, time.Now())
}

// flag reads a variable that is 1 or 0.
func flag(getenv func(string) string, name string) (bool, error) {
	on, err := strconv.ParseBool(cmp.Or(getenv(name), "0"))
	if err != nil {
		return false, fmt.Errorf("%s=%s; wanted 1 or 0", name, getenv(name))
	}
	return on, nil
}

func (o Options) publisher(getenv func(string) string) (*publish.Publisher, error) {
	repository := getenv("GITHUB_REPOSITORY")
	owner, name, found := strings.Cut(repository, "/")
	if !found || owner == "" || name == "" || strings.ContainsAny(repository, " ?#%:") || strings.Contains(name, "/") {
		return nil, fmt.Errorf("GITHUB_REPOSITORY=%s; wanted OWNER/NAME", repository)
	}
	client, err := github.New(getenv, o.Log)
	if err != nil {
		return nil, err
	}
	return &publish.Publisher{Client: client, Repository: repository, Progress: o.Progress, Stall: stallTimeout}, nil
}

func (o Options) verify(ctx context.Context, from verify.Source, keys verify.Keys) (*verify.Result, error) {
	step := o.Progress.Bytes("verify", -1)
	defer step.End()
	return verify.Release(ctx, from, keys, time.Now(), step)
}

// Prune removes old nightlies from GITHUB_REPOSITORY, but keeps the newest ones of each architecture. Without PRUNE it writes
// to out what it would do.
func Prune(ctx context.Context, o Options, keep int, getenv func(string) string, out io.Writer) error {
	apply, err := flag(getenv, "PRUNE")
	if err != nil {
		return err
	}
	publisher, err := o.publisher(getenv)
	if err != nil {
		return err
	}
	return publisher.Prune(ctx, keep, apply, out)
}

// Compare writes what changed from one release to the next, as Markdown. Each is a directory, a manifest, or a tag in GITHUB_REPOSITORY.
func Compare(ctx context.Context, o Options, older, newer string, getenv func(string) string, out io.Writer) error {
	before, err := o.manifestOf(ctx, older, getenv)
	if err != nil {
		return err
	}
	after, err := o.manifestOf(ctx, newer, getenv)
	if err != nil {
		return err
	}
	return report.Diff(out, after, before)
}

func (o Options) manifestOf(ctx context.Context, release string, getenv func(string) string) (*manifest.Manifest, error) {
	if _, err := os.Stat(release); err == nil {
		return manifest.Read(release)
	}
	from, err := o.published(ctx, release, getenv)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", release, err)
	}
	return m, nil
}

func readManifest(ctx context.Context, from verify.Source) (*manifest.Manifest, error) {
	content, err := from.Open(ctx, manifest.FileName)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	encoded, err := io.ReadAll(io.LimitReader(content, verify.MaxManifest))
	if err != nil {
		return nil, err
	}
	return manifest.Decode(encoded)
}

// published returns the release of a tag, where there is nothing of its name on the disk.
func (o Options) published(ctx context.Context, tag string, getenv func(string) string) (*publish.Source, error) {
	publisher, err := o.publisher(getenv)
	if err != nil {
		return nil, fmt.Errorf("there is no %s here, and for a tag: %w", tag, err)
	}
	return publisher.Source(ctx, tag)
}

// Sign signs the sums of a release with the keys that the environment names: SIGNING_KEY, an OpenPGP private key, with
// SIGNING_PASSPHRASE, and MINISIGN_KEY, which has none. Without keys it does nothing.
func Sign(dir string, getenv func(string) string, now time.Time) error {
	openpgpKey, minisignKey := getenv("SIGNING_KEY"), getenv("MINISIGN_KEY")
	if openpgpKey == "" && minisignKey == "" {
		return nil
	}
	sums, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return err
	}
	m, err := manifest.Read(dir)
	if err != nil {
		return err
	}
	if openpgpKey != "" {
		made, err := sign.OpenPGP(openpgpKey, getenv("SIGNING_PASSPHRASE"), sums, time.Unix(m.Epoch, 0), now)
		for _, name := range []string{verify.OpenPGPName, verify.SysupdateName} {
			if err == nil {
				err = writeOnce(filepath.Join(dir, name), made)
			}
		}
		if err != nil {
			return fmt.Errorf("SIGNING_KEY: %w", err)
		}
	}
	if minisignKey != "" {
		made, err := sign.Minisign(minisignKey, sums, fmt.Sprintf("%s of %s for %s", sumsFile, m.Version, m.Arch))
		if err == nil {
			err = writeOnce(filepath.Join(dir, verify.MinisignName), made)
		}
		if err != nil {
			return fmt.Errorf("MINISIGN_KEY: %w", err)
		}
	}
	return nil
}

// writeOnce writes a file unless it is there with this content.
func writeOnce(path string, content []byte) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, content) {
		return nil
	}
	return atomicfile.WriteBytes(path, 0o644, content)
}

// Verify checks a release, which is a directory or the tag of one on GitHub, and writes to out what it is. The environment
// names whose signatures must be there: RELEASE_KEY, a file with OpenPGP public keys, and RELEASE_MINISIGN_KEY, a minisign public key.
func Verify(ctx context.Context, o Options, release string, getenv func(string) string, out io.Writer) error {
	keys, err := verifyKeys(getenv)
	if err != nil {
		return err
	}
	var from verify.Source = verify.Directory(release)
	if info, err := os.Stat(release); err != nil || !info.IsDir() {
		if from, err = o.published(ctx, release, getenv); err != nil {
			return err
		}
	}
	result, err := o.verify(ctx, from, keys)
	if err != nil {
		return err
	}
	if err := result.Err(); err != nil {
		return fmt.Errorf("%s is not what it should be:\n%w", release, err)
	}
	signed := "nothing was said about whose it is: RELEASE_KEY and RELEASE_MINISIGN_KEY name keys"
	if len(result.Signed) > 0 {
		signed = "signed by the given keys (" + strings.Join(result.Signed, ", ") + ")"
	}
	_, err = fmt.Fprintf(out, "%s is release %s for %s, with %d good files; %s\n",
		release, result.Manifest.Version, result.Manifest.Arch, len(result.Files), signed)
	return err
}

func verifyKeys(getenv func(string) string) (keys verify.Keys, err error) {
	if path := getenv("RELEASE_KEY"); path != "" {
		if keys.OpenPGP, err = signature.ReadKeyring(path); err != nil {
			return keys, fmt.Errorf("RELEASE_KEY: %w", err)
		}
	}
	if text := getenv("RELEASE_MINISIGN_KEY"); text != "" {
		key, err := signature.MinisignKey(text)
		if err != nil {
			return keys, fmt.Errorf("RELEASE_MINISIGN_KEY: %w", err)
		}
		keys.Minisign = &key
	}
	return keys, nil
}
