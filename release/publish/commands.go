package publish

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/size"
	upstream "github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/publish/github"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/report"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// stallTimeout is how long a server may take nothing of an upload.
const stallTimeout = 2 * time.Minute

// Publish puts the release in OUTPUT/VERSION/ARCH on GitHub, as the environment says: GITHUB_REPOSITORY, GITHUB_TOKEN, GITHUB_SHA,
// PRERELEASE and REPLACE. It signs its sums first where there are keys (Sign). Without PUBLISH it writes to out what it would do.
func Publish(ctx context.Context, o setup.Options, out io.Writer) error {
	publisher, err := NewPublisher(o)
	if err != nil {
		return err
	}
	publisher.Replace = o.Publish.Replace
	if err := Sign(o.Dir(), o.Publish, time.Now()); err != nil {
		return err
	}
	checked, err := check(ctx, o, verify.Directory(o.Dir()), verify.Keys{})
	if err == nil {
		err = checked.Err()
	}
	if err != nil {
		return fmt.Errorf("%s cannot be published: %w", o.Dir(), err)
	}
	m := checked.Manifest
	notes, err := notes(ctx, o, publisher, m, o.Publish.Prerelease)
	if err != nil {
		return err
	}
	return publisher.Publish(ctx, &Release{
		Dir: o.Dir(), Tag: m.Tag(), Commit: o.GitHub.Commit,
		Title: fmt.Sprintf("OEM tools %s, %s", m.Version, m.Arch), Notes: notes, Prerelease: o.Publish.Prerelease, Files: checked.Files,
	}, o.Publish.Apply, out)
}

// MayPublish looks before a release is built whether it can be published: the environment is as for Publish, the token may write,
// the keys that are named can be used, nothing was published under the tag yet, and the base is no file that makes one of the release
// larger than GitHub takes.
func MayPublish(ctx context.Context, o setup.Options, out io.Writer) error {
	publisher, err := NewPublisher(o)
	if err != nil {
		return err
	}
	if err := tryKeys(o.Publish); err != nil {
		return err
	}
	if info, err := os.Stat(o.BaseID); err == nil && info.Mode().IsRegular() && size.Bytes(info.Size()) > manifest.MaxPublished {
		return fmt.Errorf("BASE=%s has %v, and so will the disk image of the release; GitHub takes less than 2 GiB: wanted a partition, or an update payload", o.BaseID, size.Bytes(info.Size()))
	}
	tag := manifest.Tag(cmp.Or(o.Version, setup.DefaultVersion), string(o.Arch))
	if err := publisher.MayPublish(ctx, tag); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s may be published at %s\n", tag, publisher.Repository)
	return err
}

// tryKeys makes signatures that nobody needs.
func tryKeys(p setup.Publish) error {
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
	for name, content := range map[string][]byte{sums.FileName: nil, manifest.FileName: encoded} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return Sign(dir, p, time.Now())
}

// NewPublisher returns what publishes in the repository that was chosen.
func NewPublisher(o setup.Options) (*Publisher, error) {
	hosted, err := Repository(o)
	if err != nil {
		return nil, err
	}
	return &Publisher{Forge: hosted, Repository: hosted.Name}, nil
}

// Repository returns the repository on GitHub that was chosen.
func Repository(o setup.Options) (*github.Repository, error) {
	repository := o.GitHub.Repository
	owner, name, found := strings.Cut(repository, "/")
	if !found || owner == "" || name == "" || strings.ContainsAny(repository, " ?#%:") || strings.Contains(name, "/") {
		return nil, fmt.Errorf("GITHUB_REPOSITORY=%s; wanted OWNER/NAME", repository)
	}
	client, err := upstream.New(o.Getenv, o.Log)
	if err != nil {
		return nil, err
	}
	return &github.Repository{Client: client, Name: repository, Progress: o.Progress, Stall: stallTimeout}, nil
}

func check(ctx context.Context, o setup.Options, from verify.Source, keys verify.Keys) (*verify.Result, error) {
	step := o.Progress.Bytes("verify", 0)
	defer step.End()
	return verify.Release(ctx, from, keys, time.Now(), step)
}

// Prune removes old nightlies from GITHUB_REPOSITORY, but keeps the newest ones of each architecture. Without PRUNE it writes
// to out what it would do.
func Prune(ctx context.Context, o setup.Options, keep int, out io.Writer) error {
	publisher, err := NewPublisher(o)
	if err != nil {
		return err
	}
	return publisher.Prune(ctx, keep, o.Publish.Prune, out)
}

// Compare writes what changed from one release to the next, as Markdown. Each is a directory, a manifest, or a tag in GITHUB_REPOSITORY.
func Compare(ctx context.Context, o setup.Options, older, newer string, out io.Writer) error {
	before, err := manifestOf(ctx, o, older)
	if err != nil {
		return err
	}
	after, err := manifestOf(ctx, o, newer)
	if err != nil {
		return err
	}
	return report.Diff(out, after, before)
}

func manifestOf(ctx context.Context, o setup.Options, release string) (*manifest.Manifest, error) {
	if _, err := os.Stat(release); err == nil {
		return manifest.Read(release)
	}
	from, err := published(ctx, o, release)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", release, err)
	}
	if tag := manifest.Tag(m.Version, m.Arch); tag != release {
		return nil, fmt.Errorf("%s: what is there is release %s", release, tag)
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
func published(ctx context.Context, o setup.Options, tag string) (*Source, error) {
	publisher, err := NewPublisher(o)
	if err != nil {
		return nil, fmt.Errorf("there is no %s here, and for a tag: %w", tag, err)
	}
	return publisher.Source(ctx, tag)
}

// Sign signs the sums of a release with the keys that the environment names: SIGNING_KEY, an OpenPGP private key, with
// SIGNING_PASSPHRASE, and MINISIGN_KEY, which has none. Without keys it does nothing.
func Sign(dir string, p setup.Publish, now time.Time) error {
	openpgpKey, minisignKey := p.SigningKey, p.MinisignKey
	if openpgpKey == "" && minisignKey == "" {
		return nil
	}
	list, err := os.ReadFile(filepath.Join(dir, sums.FileName))
	if err != nil {
		return err
	}
	m, err := manifest.Read(dir)
	if err != nil {
		return err
	}
	if openpgpKey != "" {
		made, err := sign.OpenPGP(openpgpKey, p.SigningPassphrase, list, time.Unix(m.Epoch, 0), now)
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
		made, err := sign.Minisign(minisignKey, list, fmt.Sprintf("%s of %s for %s", sums.FileName, m.Version, m.Arch))
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
func Verify(ctx context.Context, o setup.Options, release string, out io.Writer) error {
	keys, err := verifyKeys(o.Publish)
	if err != nil {
		return err
	}
	var from verify.Source = verify.Directory(release)
	info, err := os.Stat(release)
	isTag := err != nil || !info.IsDir()
	if isTag {
		if from, err = published(ctx, o, release); err != nil {
			return err
		}
	}
	result, err := check(ctx, o, from, keys)
	if err != nil {
		return err
	}
	if err := result.Err(); err != nil {
		return fmt.Errorf("%s fails verification:\n%w", release, err)
	}
	if m := result.Manifest; isTag && manifest.Tag(m.Version, m.Arch) != release {
		return fmt.Errorf("%s fails verification: what is there is release %s, whatever its signatures say", release, manifest.Tag(m.Version, m.Arch))
	}
	signed := "no signature was checked: set RELEASE_KEY or RELEASE_MINISIGN_KEY"
	if len(result.Signed) > 0 {
		signed = "signed by the given keys (" + strings.Join(result.Signed, ", ") + ")"
	}
	_, err = fmt.Fprintf(out, "%s is release %s for %s, with %d good files; %s\n",
		release, result.Manifest.Version, result.Manifest.Arch, len(result.Files), signed)
	return err
}

func verifyKeys(p setup.Publish) (keys verify.Keys, err error) {
	if path := p.ReleaseKey; path != "" {
		if keys.OpenPGP, err = signature.ReadKeyring(path); err != nil {
			return keys, fmt.Errorf("RELEASE_KEY: %w", err)
		}
	}
	if text := p.ReleaseMinisignKey; text != "" {
		key, err := signature.MinisignKey(text)
		if err != nil {
			return keys, fmt.Errorf("RELEASE_MINISIGN_KEY: %w", err)
		}
		keys.Minisign = &key
	}
	return keys, nil
}
