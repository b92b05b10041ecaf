package care

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/repository"
	"github.com/flatcar/oem-sysext/release/setup"
)

func TestProjectsOwnLockFiles(t *testing.T) {
	if err := CheckLocks("../..", setup.DefaultBase); err != nil {
		t.Error(err)
	}
	if err := CheckLocks("../..", "forky"); err == nil || !strings.Contains(err.Error(), "scripts/mage recipe:lock NAME") {
		t.Errorf("for another base: %v", err)
	}
}

const goTool = `# The tool.
name: tool
summary: s
homepage: https://example.org
license: MIT
arches: [amd64, arm64]
max_size: 1 MiB
sources:
  - go:
      module: github.com/magefile/mage
      version: v1.15.0 # for now
      sum: "h1:BvGheCMAsG3bWUDbZ8AyXXpCNwU9u5CB6sM+HNb9HYg="
      update: ^v1\.17\.2$
build: {go: [{package: ., to: /usr/bin/mage}]}
`

func toolCheckout(t *testing.T) setup.Options {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "recipes/tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "recipes/tool/recipe.yaml"), []byte(goTool), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := setup.FromEnvironment(dir)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("CACHE") == "" {
		o.Cache = filepath.Join("../..", setup.CacheDir)
	}
	o.Progress, o.Log = progress.New(&bytes.Buffer{}), slog.New(slog.DiscardHandler)
	return o
}

func read(t *testing.T, o setup.Options, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(o.Checkout, "recipes/tool", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestLockAndBump goes the way of a maintainer, with the real archive and the real module proxy.
func TestLockAndBump(t *testing.T) {
	o := toolCheckout(t)
	if err := CheckLocks(o.Checkout, setup.DefaultBase); err == nil {
		t.Error("nothing is locked, and that is fine")
	}
	changed, err := Lock(t.Context(), o, "all")
	if diff := cmp.Diff([]string{"recipes/tool/recipe.lock"}, changed); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	if err := CheckLocks(o.Checkout, setup.DefaultBase); err != nil {
		t.Error(err)
	}
	if changed, err := Lock(t.Context(), o, "tool"); len(changed) > 0 || err != nil {
		t.Errorf("locked twice: %v, %v", changed, err)
	}
	bumped, err := Bump(t.Context(), o, "tool")
	if diff := cmp.Diff([]Bumped{{"tool", "github.com/magefile/mage", "v1.15.0", "v1.17.2"}}, bumped); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	definition := read(t, o, "recipe.yaml")
	if !strings.Contains(definition, "      version: v1.17.2 # for now\n") || strings.Count(definition, "\n") != strings.Count(goTool, "\n") {
		t.Errorf("bumped to\n%s", definition)
	}
	if l := read(t, o, lock.FileName); !strings.Contains(l, "file: github.com/magefile/mage/@v/v1.17.2.zip") {
		t.Errorf("locked as\n%s", l)
	}
	if err := CheckLocks(o.Checkout, setup.DefaultBase); err != nil {
		t.Error(err)
	}
	if bumped, err := Bump(t.Context(), o, "tool"); len(bumped) > 0 || err != nil {
		t.Errorf("bumped twice: %v, %v", bumped, err)
	}
	if _, err := Bump(t.Context(), o, "tolo"); err == nil || !strings.Contains(err.Error(), `did you mean "tool"`) {
		t.Errorf("error is %v", err)
	}
}

// TestLocksOfEachRelease locks a source of the base's release for one release after the other. The Debian bases have another source.
func TestLocksOfEachRelease(t *testing.T) {
	const definition = `name: tool
summary: s
homepage: https://example.org
license: MIT
arches: [amd64]
max_size: 1 MiB
sources:
  - {for: debian, url: {address: "ADDRESS/tool-{version}", version: "1", sha256: {all: DIGEST}, unpack: {program: /usr/bin/tool}}}
  - {for: flatcar, binpkg: {release: base, packages: [app/tool]}}
`
	o := toolCheckout(t)
	mirror := http.NewServeMux()
	mirror.HandleFunc("/boards/amd64-usr/{release}/pkgs/Packages", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "ARCH: amd64\nPACKAGES: 1\n\nCPV: app/tool-%s\nSIZE: 8\n\n", r.PathValue("release"))
	})
	mirror.HandleFunc("/boards/amd64-usr/{release}/pkgs/app/{file}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.PathValue("release"))
	})
	mirror.HandleFunc("/tool-1", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "tool") })
	server := httptest.NewServer(mirror)
	t.Cleanup(server.Close)
	o.Flatcar.Binary = server.URL
	content := strings.NewReplacer("ADDRESS", server.URL, "DIGEST", digest.Of([]byte("tool")).String()).Replace(definition)
	if err := os.WriteFile(filepath.Join(o.Checkout, "recipes/tool/recipe.yaml"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"4593.1.0", "4593.2.0"} {
		o.BaseID = release
		if err := CheckLocks(o.Checkout, release); err == nil {
			t.Errorf("%s is not locked, and that is fine", release)
		}
		if _, err := Lock(t.Context(), o, "tool"); err != nil {
			t.Fatal(err)
		}
	}
	for _, base := range []string{"4593.1.0", "4593.2.0", setup.DefaultBase} {
		if err := CheckLocks(o.Checkout, base); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
	if l := read(t, o, lock.FileName); strings.Count(l, "source: binpkg") != 2 || strings.Count(l, "base: flatcar") != 2 {
		t.Errorf("locked as\n%s", l)
	}
}

func TestPackages(t *testing.T) {
	set, mistakes := recipe.Load(os.DirFS("../.."), "recipes")
	if err := mistakes.Err(); err != nil {
		t.Fatal(err)
	}
	r := set["chrony"]
	question := r.Sources[0].Question(false)
	locked := func(a arch.Arch, namesAndVersions ...string) *lock.Lock {
		var pins []lock.Pin
		for i := 0; i < len(namesAndVersions); i += 2 {
			pins = append(pins, lock.Pin{Name: namesAndVersions[i], Version: namesAndVersions[i+1], Digest: lock.OfSHA256(digest.Of(nil))})
		}
		var l lock.Lock
		l.Set(question, setup.DefaultBase, a, pins)
		return &l
	}
	before := locked(arch.AMD64, "a", "1.9", "gone", "1", "same", "1")
	after := locked(arch.AMD64, "a", "1.10", "new", "1", "same", "1")
	want := []Bumped{{"chrony", "a", "1.9", "1.10"}, {"chrony", "gone", "1", ""}, {"chrony", "new", "", "1"}}
	if diff := cmp.Diff(want, packages(r, before, after)); diff != "" {
		t.Error(diff)
	}
	if err := older(r, before, after); err != nil {
		t.Error(err)
	}
	if err := older(r, after, before); err == nil || !strings.Contains(err.Error(), "offers a 1.9, but 1.10 is already locked") {
		t.Errorf("error is %v", err)
	}
}

func TestWriteBumped(t *testing.T) {
	var out bytes.Buffer
	if err := WriteBumped(&out, []Bumped{{"chrony", "chrony", "4.6", "4.7"}, {"python3", "libnew", "", "1"}}, nil); err != nil {
		t.Fatal(err)
	}
	want := `| recipe  | what   | from | to  |
| ---     | ---    | ---  | --- |
| chrony  | chrony | 4.6  | 4.7 |
| python3 | libnew | -    | 1   |
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	if err := WriteBumped(&out, nil, nil); err != nil || out.String() != "Nothing newer.\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// TestBumpFloors moves an old date to the one of the real archive, and nothing the second time.
func TestBumpFloors(t *testing.T) {
	o := toolCheckout(t)
	path := filepath.Join(o.Checkout, repository.FloorsFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("# why\ntrixie 2025-08-09T00:00:00Z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	changes, err := BumpFloors(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	known, err := repository.KnownFloors()
	if err != nil {
		t.Fatal(err)
	}
	moved, err := repository.ParseFloors(string(content))
	if err != nil || len(changes) != 1 || moved["trixie"].Before(known["trixie"]) || !strings.HasPrefix(string(content), "# why\n") {
		t.Errorf("%v, %v: %s", changes, err, content)
	}
	if changes, err := BumpFloors(t.Context(), o); len(changes) > 0 || err != nil {
		t.Errorf("bumped twice: %v, %v", changes, err)
	}
}

// TestWhatIsNotLookedUp says so of sources that name no page with versions.
func TestWhatIsNotLookedUp(t *testing.T) {
	o := toolCheckout(t)
	const more = `  - url: {address: "https://example.org/x-{version}", version: 1, sha256: {all: SUM}, unpack: {program: /usr/bin/x}}
  - url:
      address: "https://example.org/y-{version}"
      version: 1
      sha256: {all: SUM}
      unpack: {program: /usr/bin/y}
      update: {address: "https://example.org/", pattern: "y-([0-9.]+)"}
  - binpkg: {release: 4593.1.0, packages: [app-misc/z]}
`
	content := strings.Replace(goTool, "build:", strings.ReplaceAll(more, "SUM", strings.Repeat("0", 64))+"build:", 1)
	if err := os.WriteFile(filepath.Join(o.Checkout, "recipes/tool/recipe.yaml"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	blind, err := NotLookedUp(o, "all")
	want := []string{
		"recipes/tool/recipe.yaml:14: https://example.org/x-{version}: add update: with a page and a pattern",
		"recipes/tool/recipe.yaml:21: Flatcar's packages of release 4593.1.0: release: is set by hand",
	}
	if diff := cmp.Diff(want, blind); diff != "" || err != nil {
		t.Error(diff, err)
	}
	var out strings.Builder
	if err := WriteBumped(&out, nil, blind[:1]); err != nil || out.String() != "Nothing newer.\n\nNot looked up:\n\n* "+want[0]+"\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if _, err := NotLookedUp(o, "gone"); err == nil {
		t.Error("a recipe that is not there has sources")
	}
}
