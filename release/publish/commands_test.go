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

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/publish/githubtest"
	"github.com/flatcar/oem-sysext/release/ship/verify"
)

// smallRelease writes a release of a few bytes to o.Dir().
func smallRelease(t *testing.T, o Options, recipes ...manifest.Recipe) {
	t.Helper()
	m := &manifest.Manifest{Schema: manifest.Schema, Version: o.Version, Arch: string(o.Arch), Epoch: 1700000000, Recipes: recipes}
	content := map[string]string{partitionFile: "partition", kernelFile: "kernel", reportMarkdownFile: "# Report\n", reportFile: `<section id="proofs"></section>`}
	for _, name := range []string{partitionFile, kernelFile} {
		m.Add(manifest.File{Name: name, Size: size.Bytes(len(content[name])), SHA256: digest.Of([]byte(content[name]))})
	}
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	content[manifest.FileName] = string(encoded)
	sums := ""
	for name, text := range content {
		sums += fmt.Sprintf("%v  %s\n", digest.Of([]byte(text)), name)
	}
	content[sumsFile] = sums
	if err := os.MkdirAll(o.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(o.Dir(), name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
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
	var log bytes.Buffer
	display := progress.New(&log)
	o := Options{Output: t.TempDir(), Version: "1.2.3", Arch: arch.AMD64, Progress: display, Log: display.Logger(slog.LevelInfo)}
	smallRelease(t, o)
	private, public := signingKey(t)
	environment := map[string]string{
		github.EnvAPI: s.URL + "/api/v3", github.EnvServer: s.URL, github.EnvToken: githubtest.Token,
		"GITHUB_REPOSITORY": githubtest.Repository, "GITHUB_SHA": "0123abcd", "SIGNING_KEY": private, "RELEASE_KEY": public,
	}
	getenv := func(name string) string { return environment[name] }

	var out bytes.Buffer
	if err := Publish(t.Context(), o, getenv, &out); err != nil || len(s.Releases()) != 0 {
		t.Fatalf("a dry run: %v, %+v", err, s.Releases())
	}
	environment["PUBLISH"], environment["PRERELEASE"] = "1", "1"
	for range 2 { // the second time with the same signature
		if err := Publish(t.Context(), o, getenv, &out); err != nil {
			t.Fatal(err)
		}
	}
	got := s.Releases()[0]
	if got.Draft || !got.Prerelease || got.Tag != "1.2.3-amd64" || got.Commit != "0123abcd" || !strings.HasPrefix(got.Body, "\n## OEM tools 1.2.3, amd64\n") || len(got.Assets) != 8 {
		t.Errorf("published %+v", got)
	}

	out.Reset()
	for _, from := range []string{"1.2.3-amd64", o.Dir()} {
		if err := Verify(t.Context(), o, from, getenv, &out); err != nil {
			t.Errorf("%s: %v", from, err)
		}
		want := from + " is release 1.2.3 for amd64, with 8 good files; signed by the given keys (SHA256SUMS.asc, SHA256SUMS.gpg)\n"
		if !strings.Contains(out.String(), want) {
			t.Errorf("says %q; wanted %q", &out, want)
		}
	}
	for _, a := range s.Releases()[0].Assets {
		if a.Name == partitionFile {
			a.Content[0] ^= 1
		}
	}
	if err := os.WriteFile(filepath.Join(o.Dir(), partitionFile), []byte("Partition"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"1.2.3-amd64", o.Dir()} {
		if err := Verify(t.Context(), o, from, getenv, &out); err == nil || !strings.Contains(err.Error(), "usr.bin has sha256") {
			t.Errorf("%s: error is %v", from, err)
		}
	}
	if err := Publish(t.Context(), o, getenv, &out); err == nil || !strings.Contains(err.Error(), "cannot be published: usr.bin has sha256") {
		t.Errorf("a damaged release: %v", err)
	}
	if err := Verify(t.Context(), o, "4.5.6-amd64", getenv, &out); err == nil || !strings.Contains(err.Error(), "owner/tools has no release 4.5.6-amd64") {
		t.Errorf("error is %v", err)
	}
	if all := out.String() + log.String(); strings.Contains(all, githubtest.Token) {
		t.Errorf("the token shows: %s", all)
	}
}

// TestNotes publishes two releases, the second one with another kernel and a proof.
func TestNotes(t *testing.T) {
	s := githubtest.New(t)
	display := progress.New(io.Discard)
	o := Options{Output: t.TempDir(), Version: "1.2.2", Arch: arch.AMD64, Progress: display, Log: display.Logger(slog.LevelInfo)}
	environment := map[string]string{
		github.EnvAPI: s.URL + "/api/v3", github.EnvServer: s.URL, github.EnvToken: githubtest.Token,
		"GITHUB_REPOSITORY": githubtest.Repository, "PUBLISH": "1",
	}
	getenv := func(name string) string { return environment[name] }
	smallRelease(t, o)
	if err := MayPublish(t.Context(), o, getenv, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := Publish(t.Context(), o, getenv, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := MayPublish(t.Context(), o, getenv, io.Discard); err == nil || !strings.Contains(err.Error(), "wanted another VERSION") {
		t.Errorf("error is %v", err)
	}
	environment["SIGNING_KEY"] = "/nonexistent"
	if err := MayPublish(t.Context(), o, getenv, io.Discard); err == nil || !strings.Contains(err.Error(), "SIGNING_KEY: ") {
		t.Errorf("error is %v", err)
	}
	delete(environment, "SIGNING_KEY")
	o.Version = "1.2.3"
	large := o
	large.BaseID = filepath.Join(t.TempDir(), "disk.bin")
	if err := errors.Join(os.WriteFile(large.BaseID, nil, 0o644), os.Truncate(large.BaseID, 2<<30)); err != nil {
		t.Fatal(err)
	}
	if err := MayPublish(t.Context(), large, getenv, io.Discard); err == nil || !strings.Contains(err.Error(), "disk.bin has 2.0 GiB") {
		t.Errorf("error is %v", err)
	}
	smallRelease(t, o, manifest.Recipe{Name: "chrony", Inputs: []build.Input{{Kind: "deb", Name: "chrony", Version: "4.6", Digest: "sha256:01"}}})
	r, err := prove.Open(o.Dir())
	if err != nil {
		t.Fatal(err)
	}
	proof := &prove.Proof{
		Schema: prove.Schema, Version: o.Version, Arch: "amd64", Accel: "tcg", Booted: map[string]digest.SHA256{kernelFile: r.Manifest.File(kernelFile).SHA256},
		Machines: []prove.Machine{{Platform: "azure", Seconds: 12, Outcomes: []prove.Outcome{{Assertion: "the system is up"}}}},
	}
	if err := writeProof(o.Dir(), verify.ProofName, proof); err != nil {
		t.Fatal(err)
	}
	if page, err := os.ReadFile(filepath.Join(o.Dir(), reportFile)); err != nil || !strings.Contains(string(page), "1 of 1") {
		t.Errorf("the report is %s, %v", page, err)
	}
	if err := Publish(t.Context(), o, getenv, io.Discard); err != nil {
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
	file := filepath.Join(t.TempDir(), "summary")
	if err := Summarize(o, file); err != nil {
		t.Fatal(err)
	}
	if summary, err := os.ReadFile(file); err != nil || !strings.Contains(string(summary), "# Report") || !strings.Contains(string(summary), "### Proof") {
		t.Errorf("the summary is %s, %v", summary, err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir(), verify.ProofName), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), o, o.Dir(), getenv, io.Discard); err == nil || !strings.Contains(err.Error(), "proof.json has sha256") {
		t.Errorf("a damaged proof: %v", err)
	}
}

// TestReportNight tells of three nights, of which the last is good.
func TestReportNight(t *testing.T) {
	s := githubtest.New(t)
	display := progress.New(io.Discard)
	o := Options{Output: t.TempDir(), Version: "1.2.3", Arch: arch.AMD64, Progress: display, Log: display.Logger(slog.LevelInfo)}
	environment := map[string]string{
		github.EnvAPI: s.URL + "/api/v3", github.EnvServer: s.URL, github.EnvToken: githubtest.Token, "GITHUB_REPOSITORY": githubtest.Repository,
		"GITHUB_RUN_ID": "42",
	}
	getenv := func(name string) string { return environment[name] }
	if err := ReportNight(t.Context(), o, getenv, io.Discard); err == nil || !strings.Contains(err.Error(), `NEEDS=""; wanted`) {
		t.Errorf("error is %v", err)
	}
	if err := os.MkdirAll(o.proofs(), 0o755); err != nil {
		t.Fatal(err)
	}
	part := `{"schema": 1, "machines": [{"platform": "azure", "error": "it | hangs"}]}`
	if err := os.WriteFile(filepath.Join(o.proofs(), "1-of-1.json"), []byte(part), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, needs := range []string{
		`{"build": {"result": "success", "outputs": {}}, "prove": {"result": "failure"}}`,
		`{"build": {"result": "failure"}, "prove": {"result": "skipped"}}`,
	} {
		environment["NEEDS"] = needs
		if err := ReportNight(t.Context(), o, getenv, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	items := s.Items()
	if len(items) != 1 || items[0].State != "open" {
		t.Fatalf("there are %+v", items)
	}
	for _, says := range []string{s.URL + "/owner/tools/actions/runs/42", "| `build` | failure |", "| `azure` | 0 | 0 s | 0 of 0 | `it \\| hangs` |"} {
		if !strings.Contains(items[0].Body, says) {
			t.Errorf("the issue does not say %q:\n%s", says, items[0].Body)
		}
	}
	environment["NEEDS"] = `{"build": {"result": "success"}, "prove": {"result": "success"}}`
	if err := ReportNight(t.Context(), o, getenv, io.Discard); err != nil || s.Items()[0].State != "closed" {
		t.Errorf("%+v, %v", s.Items(), err)
	}
}

func TestPublishRefusesSettings(t *testing.T) {
	o := Options{Output: t.TempDir(), Version: "1.2.3", Arch: arch.AMD64, Progress: progress.New(io.Discard), Log: slog.New(slog.DiscardHandler)}
	smallRelease(t, o)
	for name, environment := range map[string]map[string]string{
		"GITHUB_REPOSITORY=; wanted OWNER/NAME":      {},
		"GITHUB_REPOSITORY=a/b/c; wanted OWNER/NAME": {"GITHUB_REPOSITORY": "a/b/c"},
		"PUBLISH=maybe; wanted 1 or 0":               {"PUBLISH": "maybe"},
		"PRERELEASE=x; wanted 1 or 0":                {"PRERELEASE": "x"},
		"REPLACE=x; wanted 1 or 0":                   {"GITHUB_REPOSITORY": "a/b", "REPLACE": "x"},
		"SIGNING_KEY: open":                          {"GITHUB_REPOSITORY": "a/b", "SIGNING_KEY": "/nonexistent"},
	} {
		err := Publish(t.Context(), o, func(name string) string { return environment[name] }, io.Discard)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error is %v; wanted %s", err, name)
		}
	}
}
