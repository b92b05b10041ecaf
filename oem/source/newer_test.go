package source

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/tools/golang"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

const head = "# The tool.\nname: tool\nsummary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64, arm64]\nmax_size: 1 MiB\n"

// bumped looks for a newer version of the recipe's first source and returns the definition with it.
// HOST in the definition is a server with these files.
func bumped(t *testing.T, sources string, files map[string]string) (string, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, there := files[r.URL.Path]
		if !there {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, content)
	}))
	t.Cleanup(server.Close)
	log := slog.New(slog.DiscardHandler)
	hub, err := github.New(func(name string) string { return map[string]string{github.EnvAPI: server.URL}[name] }, log)
	if err != nil {
		t.Fatal(err)
	}
	toolchain, err := golang.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	definition := head + strings.ReplaceAll(sources, "HOST", server.URL)
	set, mistakes := recipe.Load(fstest.MapFS{"recipes/tool/recipe.yaml": {Data: []byte(definition)}}, "recipes")
	if err := mistakes.Err(); err != nil {
		t.Fatal(err)
	}
	r := set["tool"]
	updater, is := All.Of(r, r.Sources[0]).(kind.Updater)
	if !is {
		return "", nil
	}
	newer, err := updater.Newer(t.Context(), &kind.Env{Go: toolchain, GitHub: hub, Store: fetch.New(t.TempDir(), log, nil)})
	if err != nil || newer == nil {
		return "", err
	}
	changed, err := newer.Apply([]byte(definition), 0, r.Sources[0].Kind())
	return strings.ReplaceAll(strings.TrimPrefix(string(changed), head), server.URL, "HOST"), err
}

func sum(content string) string { return digest.Of([]byte(content)).String() }

const gitHub = "sources:\n  - github: {repository: o/r, tag: v1.9.0, asset: a%s} # the agent\n"

var releases = map[string]string{"/repos/o/r/releases": `[{"tag_name": "v3.0.0", "prerelease": true}, {"tag_name": "v1.10.0"}, {"tag_name": "other-9"},
	{"tag_name": "v2.0.0"}, {"tag_name": "v1.2.0"}, {"tag_name": "v2.1/../x"}]`}

const listed = `sources:
  - url:
      # Upstream's own server.
      address: HOST/{version}/tool-{arch}
      version: "1.9" # of May
      arch_names: {arm64: aarch64}
      sha256: {amd64: SUM, arm64: SUM}
      update: {address: HOST/list, pattern: 'tool-([0-9.]+)\.tgz'}
`

func TestNewer(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	page := map[string]string{"/list": "tool-1.10.tgz tool-1.8.tgz tool-1.10.tgz", "/1.10/tool-amd64": "a", "/1.10/tool-aarch64": "b"}
	for name, test := range map[string]struct {
		sources string
		files   map[string]string
		want    string // empty: nothing newer
	}{
		"tag":                  {fmt.Sprintf(gitHub, ", update: '^v'"), releases, strings.Replace(fmt.Sprintf(gitHub, ", update: '^v'"), "v1.9.0", "v2.0.0", 1)},
		"tag of a line":        {fmt.Sprintf(gitHub, ", update: '^v1\\.'"), releases, strings.Replace(fmt.Sprintf(gitHub, ", update: '^v1\\.'"), "v1.9.0", "v1.10.0", 1)},
		"no tag of that line":  {fmt.Sprintf(gitHub, ", update: '^v7'"), releases, ""},
		"listing":              {strings.ReplaceAll(listed, "SUM", zeros), page, strings.NewReplacer(`"1.9"`, `"1.10"`, "amd64: SUM", "amd64: "+sum("a"), "arm64: SUM", "arm64: "+sum("b")).Replace(listed)},
		"nothing newer listed": {strings.ReplaceAll(listed, "SUM", zeros), map[string]string{"/list": "tool-1.9.tgz tool-1.0.tgz"}, ""},
		"a package":            {"sources: [{deb: {suite: trixie, packages: [tool]}}]\n", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := bumped(t, test.sources, test.files)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

func TestNewerRefuses(t *testing.T) {
	definition := strings.ReplaceAll(listed, "SUM", strings.Repeat("0", 64))
	for says, files := range map[string]map[string]string{
		"no such file there":          nil,
		"correct the pattern":         {"/list": "moved"},
		"version 1.10: fetch http://": {"/list": "tool-1.10.tgz", "/1.10/tool-amd64": "a"},
	} {
		if _, err := bumped(t, definition, files); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error is %v", err)
		}
	}
}

// TestModule asks the real module proxy for a module that this project itself uses.
func TestModule(t *testing.T) {
	sums, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	got, err := bumped(t, "sources:\n  - go: {module: github.com/magefile/mage, version: v1.15.0, sum: 'h1:x', update: '^v1\\.17\\.2$'}\nbuild: {go: [{package: ., to: /usr/bin/mage}]}\n", nil)
	_, rest, _ := strings.Cut(got, "version: v1.17.2, sum: '")
	if h1, _, _ := strings.Cut(rest, "'"); err != nil || !strings.Contains(string(sums), "github.com/magefile/mage v1.17.2 "+h1+"\n") {
		t.Errorf("%v\n%s", err, got)
	}
	got, err = bumped(t, "sources:\n  - go: {module: github.com/magefile/mage, version: v99.0.0, sum: 'h1:x'}\nbuild: {go: [{package: ., to: /usr/bin/mage}]}\n", nil)
	if got != "" || err != nil {
		t.Errorf("went back: %v\n%s", err, got)
	}
}
