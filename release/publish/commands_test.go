package publish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/source/input"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/publish/github/githubtest"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// smallRelease writes a release of a few bytes to o.Dir().
func smallRelease(t *testing.T, o setup.Options, recipes ...manifest.Recipe) {
	t.Helper()
	m := &manifest.Manifest{Schema: manifest.Schema, Version: o.Version, Arch: string(o.Arch), Epoch: 1700000000, Recipes: recipes}
	content := map[string]string{manifest.PartitionFile: "partition", manifest.KernelFile: "kernel", manifest.ReportMarkdownFile: "# Report\n", manifest.ReportFile: `<section id="proofs"></section>`}
	for _, name := range []string{manifest.PartitionFile, manifest.KernelFile} {
		m.Add(manifest.File{Name: name, Size: size.Bytes(len(content[name])), SHA256: digest.Of([]byte(content[name]))})
	}
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	content[manifest.FileName] = string(encoded)
	list := ""
	for name, text := range content {
		list += fmt.Sprintf("%v  %s\n", digest.Of([]byte(text)), name)
	}
	content[sums.FileName] = list
	if err := os.MkdirAll(o.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(o.Dir(), name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// options returns what an environment chooses, for a release 1.2.3.
func options(t *testing.T, environ ...string) setup.Options {
	t.Helper()
	o, err := setup.Read("../..", environ)
	if err != nil {
		t.Fatal(err)
	}
	o.Output, o.Version = t.TempDir(), "1.2.3"
	o.Progress = progress.New(io.Discard)
	o.Log = o.Progress.Logger(slog.LevelInfo)
	return o
}

// variables are those by which the stand-in for GitHub is found.
func variables(s *githubtest.Server, more ...string) []string {
	return append([]string{
		github.EnvAPI + "=" + s.URL + "/api/v3", github.EnvServer + "=" + s.URL, github.EnvToken + "=" + githubtest.Token,
		"GITHUB_REPOSITORY=" + githubtest.Repository,
	}, more...)
}

// signingKey writes a new OpenPGP key and returns the paths of its halves.
func signingKey(t *testing.T) (private, public string) {
	t.Helper()
	key, err := openpgp.NewEntity("Release", "", "release@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, serialize := range map[string]func(io.Writer) error{
		"private": func(w io.Writer) error { return key.SerializePrivate(w, nil) },
		"public":  key.Serialize,
	} {
		var content bytes.Buffer
		if err := serialize(&content); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "private"), filepath.Join(dir, "public")
}

// TestPublishAndVerify signs and publishes a release, and verifies it from there and from its directory.
func TestPublishAndVerify(t *testing.T) {
	s := githubtest.New(t)
	private, public := signingKey(t)
	environ := variables(s, "GITHUB_SHA=0123abcd", "SIGNING_KEY="+private, "RELEASE_KEY="+public)
	o := options(t, environ...)
	var log bytes.Buffer
	o.Progress = progress.New(&log)
	o.Log = o.Progress.Logger(slog.LevelInfo)
	smallRelease(t, o)

	var out bytes.Buffer
	if err := Publish(t.Context(), o, &out); err != nil || len(s.Releases()) != 0 {
		t.Fatalf("a dry run: %v, %+v", err, s.Releases())
	}
	o.Publish = options(t, append(environ, "PUBLISH=1", "PRERELEASE=1")...).Publish
	for range 2 { // the second time with the same signature
		if err := Publish(t.Context(), o, &out); err != nil {
			t.Fatal(err)
		}
	}
	got := s.Releases()[0]
	if got.Draft || !got.Prerelease || got.Tag != "1.2.3-amd64" || got.Commit != "0123abcd" || !strings.HasPrefix(got.Body, "\n## OEM tools 1.2.3, amd64\n") || len(got.Assets) != 8 {
		t.Errorf("published %+v", got)
	}

	out.Reset()
	for _, from := range []string{"1.2.3-amd64", o.Dir()} {
		if err := Verify(t.Context(), o, from, &out); err != nil {
			t.Errorf("%s: %v", from, err)
		}
		want := from + " is release 1.2.3 for amd64, with 8 good files; signed by the given keys (SHA256SUMS.asc, SHA256SUMS.gpg)\n"
		if !strings.Contains(out.String(), want) {
			t.Errorf("says %q; wanted %q", &out, want)
		}
	}
	for _, a := range s.Releases()[0].Assets {
		if a.Name == manifest.PartitionFile {
			a.Content[0] ^= 1
		}
	}
	if err := os.WriteFile(filepath.Join(o.Dir(), manifest.PartitionFile), []byte("Partition"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"1.2.3-amd64", o.Dir()} {
		if err := Verify(t.Context(), o, from, &out); err == nil || !strings.Contains(err.Error(), "usr.bin has sha256") {
			t.Errorf("%s: error is %v", from, err)
		}
	}
	if err := Publish(t.Context(), o, &out); err == nil || !strings.Contains(err.Error(), "cannot be published: usr.bin has sha256") {
		t.Errorf("a damaged release: %v", err)
	}
	if err := Verify(t.Context(), o, "4.5.6-amd64", &out); err == nil || !strings.Contains(err.Error(), "owner/tools has no release 4.5.6-amd64") {
		t.Errorf("error is %v", err)
	}
	if all := out.String() + log.String(); strings.Contains(all, githubtest.Token) {
		t.Errorf("the token shows: %s", all)
	}
}

// TestNotes publishes two releases, the second one with another kernel and a proof.
func TestNotes(t *testing.T) {
	s := githubtest.New(t)
	environ := variables(s, "PUBLISH=1")
	o := options(t, environ...)
	o.Version = "1.2.2"
	smallRelease(t, o)
	if err := MayPublish(t.Context(), o, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := Publish(t.Context(), o, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := MayPublish(t.Context(), o, io.Discard); err == nil || !strings.Contains(err.Error(), "wanted another VERSION") {
		t.Errorf("error is %v", err)
	}
	unsignable := o
	unsignable.Publish = options(t, append(environ, "SIGNING_KEY=/nonexistent")...).Publish
	if err := MayPublish(t.Context(), unsignable, io.Discard); err == nil || !strings.Contains(err.Error(), "SIGNING_KEY: ") {
		t.Errorf("error is %v", err)
	}
	o.Version = "1.2.3"
	large := o
	large.BaseID = filepath.Join(t.TempDir(), "disk.bin")
	if err := errors.Join(os.WriteFile(large.BaseID, nil, 0o644), os.Truncate(large.BaseID, 2<<30)); err != nil {
		t.Fatal(err)
	}
	if err := MayPublish(t.Context(), large, io.Discard); err == nil || !strings.Contains(err.Error(), "disk.bin has 2.0 GiB") {
		t.Errorf("error is %v", err)
	}
	smallRelease(t, o, manifest.Recipe{Name: "chrony", Inputs: []input.Input{{Kind: "deb", Name: "chrony", Version: "4.6", Digest: "sha256:01"}}})
	r, err := proof.OpenRelease(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	proven := &proof.Proof{
		Schema: proof.Schema, Version: o.Version, Arch: "amd64", Accel: "tcg", Booted: map[string]digest.SHA256{manifest.KernelFile: r.Manifest.File(manifest.KernelFile).SHA256},
		Machines: []proof.Machine{{Platform: "azure", Seconds: 12, Outcomes: []proof.Outcome{{Assertion: "the system is up"}}}},
	}
	if err := proof.Write(o.Dir(), verify.ProofName, proven); err != nil {
		t.Fatal(err)
	}
	if page, err := os.ReadFile(filepath.Join(o.Dir(), manifest.ReportFile)); err != nil || !strings.Contains(string(page), "1 of 1") {
		t.Errorf("the report is %s, %v", page, err)
	}
	if err := Publish(t.Context(), o, io.Discard); err != nil {
		t.Fatal(err)
	}
	notes := s.Releases()[1].Body
	for _, says := range []string{
		"### Changes since 1.2.2\n", "- recipe `chrony` added", "deb `chrony` `4.6` added", "### Plan\n",
		"### Proof\n", "1.2.3 (tcg), 0 of them failed", "| `azure` | 0 | 12 s | 1 of 1 |  |",
	} {
		if !strings.Contains(notes, says) {
			t.Errorf("the notes do not say %q:\n%s", says, notes)
		}
	}
	if err := os.WriteFile(filepath.Join(o.Dir(), verify.ProofName), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), o, o.Dir(), io.Discard); err == nil || !strings.Contains(err.Error(), "proof.json has sha256") {
		t.Errorf("a damaged proof: %v", err)
	}
}

func TestPublishRefusesSettings(t *testing.T) {
	for name, environ := range map[string][]string{
		"GITHUB_REPOSITORY=; wanted OWNER/NAME":      nil,
		"GITHUB_REPOSITORY=a/b/c; wanted OWNER/NAME": {"GITHUB_REPOSITORY=a/b/c"},
		"SIGNING_KEY: open":                          {"GITHUB_REPOSITORY=a/b", "SIGNING_KEY=/nonexistent"},
	} {
		o := options(t, environ...)
		smallRelease(t, o)
		if err := Publish(t.Context(), o, io.Discard); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error is %v; wanted %s", err, name)
		}
	}
	for want, environ := range map[string][]string{
		"PUBLISH=maybe; wanted 1 or 0": {"PUBLISH=maybe"},
		"PRERELEASE=x; wanted 1 or 0":  {"PRERELEASE=x"},
		"REPLACE=x; wanted 1 or 0":     {"GITHUB_REPOSITORY=a/b", "REPLACE=x"},
	} {
		if _, err := setup.Read("../..", environ); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; wanted %s", err, want)
		}
	}
}
