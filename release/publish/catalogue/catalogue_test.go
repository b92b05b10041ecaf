package catalogue

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/ship/verify"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// releaseWith writes a release that has only what the page is made of, with a proof of a machine that failed one of two assertions.
func releaseWith(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	m, err := (&manifest.Manifest{Schema: manifest.Schema, Version: version, Arch: "amd64"}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	p, err := (&proof.Proof{Schema: proof.Schema, Machines: []proof.Machine{{Platform: "vagrant", Outcomes: []proof.Outcome{{Assertion: "a"}, {Assertion: "b", Error: "no"}}}}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		manifest.FileName: m, verify.ProofName: p, manifest.ReportFile: []byte("<title>report</title>"), "usr.bin": []byte("not for the page"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pages")
	if err := os.MkdirAll(filepath.Join(dir, "of-an-earlier-run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, testrelease.SmallCheckout(t), releaseWith(t, "1.2.3+<b>")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), "index.html proof.json report.html"; got != want {
		t.Errorf("files are %s; wanted %s", got, want)
	}
	index, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Release 1.2.3&#43;&lt;b&gt; for amd64", "1 machines booted, <strong>1 failed</strong>", "1 of 2 assertions hold",
		"<main>\n<h1>", `<a href="#recipe-tool">tool</a>`, `For <a href="#platform-vagrant">vagrant</a>`,
	} {
		if !strings.Contains(string(index), want) {
			t.Errorf("%q is not in\n%s", want, index)
		}
	}
	linksLead(t, dir, string(index))
}

// TestPageOfTheCatalogue says that the definitions of this checkout make a page whose links lead somewhere.
func TestPageOfTheCatalogue(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, testrelease.Checkout(t), releaseWith(t, "1.2.3")); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	linksLead(t, dir, string(index))
	if strings.Contains(string(index), "ZgotmplZ") || !strings.Contains(string(index), `id="platform-azure"`) {
		t.Errorf("something is missing in\n%s", index)
	}
}

// linksLead says which links that stay lead to no file or part of the page.
func linksLead(t *testing.T, dir, index string) {
	t.Helper()
	found := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(index, -1)
	if len(found) == 0 {
		t.Error("there is no link")
	}
	for _, link := range found {
		if id, here := strings.CutPrefix(link[1], "#"); here {
			if !strings.Contains(index, ` id="`+id+`"`) {
				t.Errorf("%s leads nowhere", link[1])
			}
		} else if !strings.HasPrefix(link[1], "http") {
			if _, err := os.Stat(filepath.Join(dir, link[1])); err != nil {
				t.Error(err)
			}
		}
	}
}
