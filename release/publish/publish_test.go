package publish

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/github"
	"github.com/flatcar/oem-sysext/release/publish/github/githubtest"
)

// files are those of most tests.
var files = map[string]string{"SHA256SUMS": "sums", "oem-a.raw": strings.Repeat("a", 100_000), "usr.bin": strings.Repeat("u", 300_000)}

// testRelease writes a release directory.
func testRelease(t testing.TB, content map[string]string) *Release {
	t.Helper()
	r := &Release{Dir: t.TempDir(), Tag: "1.2.3-amd64", Title: "OEM tools 1.2.3", Notes: "notes", Commit: "main"}
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(r.Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r.Files = append(r.Files, manifest.File{Name: name, Size: size.Bytes(len(text)), SHA256: digest.Of([]byte(text))})
	}
	slices.SortFunc(r.Files, func(a, b manifest.File) int { return strings.Compare(a.Name, b.Name) })
	return r
}

func publisher(t testing.TB, s *githubtest.Server, log io.Writer) *Publisher {
	hosted := &github.Repository{Client: s.Client(t, githubtest.Token), Name: githubtest.Repository, Progress: progress.New(log), Stall: time.Second}
	return &Publisher{Forge: hosted, Repository: hosted.Name}
}

// hosted is where a publisher publishes.
func hosted(p *Publisher) *github.Repository { return p.Forge.(*github.Repository) }

// assetsOf returns the names of assets and their content, of the one release that there must be.
func assetsOf(t testing.TB, s *githubtest.Server) map[string]string {
	t.Helper()
	all := s.Releases()
	if len(all) != 1 || all[0].Draft {
		t.Fatalf("there are %d releases, of which the first is %+v", len(all), all)
	}
	got := map[string]string{}
	for _, a := range all[0].Assets {
		if a.State != "uploaded" {
			t.Errorf("%s is %s", a.Name, a.State)
		}
		got[a.Name] = string(a.Content)
	}
	return got
}

func TestPublish(t *testing.T) {
	s := githubtest.New(t)
	r := testRelease(t, files)
	r.Prerelease = true
	var out, log bytes.Buffer
	p := publisher(t, s, &log)

	if err := p.Publish(t.Context(), r, false, &out); err != nil {
		t.Fatal(err)
	}
	if len(s.Releases()) != 0 {
		t.Error("a dry run made a release")
	}
	for _, request := range s.Requests() {
		if !strings.HasPrefix(request, "GET ") {
			t.Errorf("a dry run sent %s", request)
		}
	}
	for _, says := range []string{"pre-release 1.2.3-amd64 of owner/tools, from a new draft", "PUBLISH=1", "upload   usr.bin  293.0 KiB", "390.6 KiB to upload"} {
		if !strings.Contains(out.String(), says) {
			t.Errorf("a dry run does not say %q:\n%s", says, &out)
		}
	}

	if err := p.Publish(t.Context(), r, true, &out); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(files, assetsOf(t, s)); diff != "" {
		t.Error(diff)
	}
	got := s.Releases()[0]
	if got.Tag != r.Tag || got.Name != r.Title || got.Body != r.Notes || got.Commit != r.Commit || !got.Prerelease {
		t.Errorf("published %+v", got)
	}
	asked := s.Requests()
	if last := asked[len(asked)-1]; !strings.HasPrefix(last, "PATCH ") || !strings.HasPrefix(asked[len(asked)-2], "GET ") {
		t.Errorf("it is not published last, after what the server has was read back: %q", asked)
	}

	// Once more changes nothing.
	out.Reset()
	if err := p.Publish(t.Context(), r, true, &out); err != nil || !strings.Contains(out.String(), "is published already") {
		t.Errorf("the second time: %v\n%s", err, &out)
	}
	for _, request := range s.Requests() {
		if !strings.HasPrefix(request, "GET ") {
			t.Errorf("the second time it sent %s", request)
		}
	}
	if all := out.String() + log.String(); strings.Contains(all, githubtest.Token) {
		t.Errorf("the token shows: %s", all)
	}
}

// draftWith puts a draft on the server that has some of the files, and others.
func draftWith(s *githubtest.Server, draft bool, content map[string]string) {
	r := githubtest.Release{Tag: "1.2.3-amd64", Draft: draft}
	for name, text := range content {
		a := &githubtest.Asset{Name: name, State: "uploaded", Size: int64(len(text)), Content: []byte(text), Digest: "sha256:" + digest.Of([]byte(text)).String()}
		if text == "" {
			a.State, a.Digest = "starter", ""
		}
		r.Assets = append(r.Assets, a)
	}
	s.Add(r)
}

func TestContinue(t *testing.T) {
	other := strings.Repeat("b", 100_000)
	for name, test := range map[string]struct {
		has       map[string]string // empty content is a cut upload
		noDigests bool
		replace   bool
		says      string // an error
		uploads   int
	}{
		"some are there":             {has: map[string]string{"oem-a.raw": files["oem-a.raw"]}, uploads: 2},
		"all are there":              {has: files, uploads: 0},
		"without digests":            {has: files, noDigests: true, uploads: 0},
		"one was cut":                {has: map[string]string{"oem-a.raw": "", "usr.bin": files["usr.bin"]}, uploads: 2},
		"a foreign one was cut":      {has: map[string]string{"oem-z.raw": ""}, uploads: 3},
		"one is different":           {has: map[string]string{"oem-a.raw": other}, says: "has another oem-a.raw, of 97.7 KiB; wanted sha256 "},
		"one differs, no digests":    {has: map[string]string{"oem-a.raw": other}, noDigests: true, says: "REPLACE=1"},
		"one is too much":            {has: map[string]string{"oem-z.raw": other}, says: "has oem-z.raw, which is not in the release"},
		"one is replaced":            {has: map[string]string{"oem-a.raw": other}, replace: true, uploads: 3},
		"one is replaced, no digest": {has: map[string]string{"oem-a.raw": other}, noDigests: true, replace: true, uploads: 3},
		"one is removed":             {has: map[string]string{"oem-z.raw": other}, replace: true, uploads: 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := githubtest.New(t)
			s.NoDigests = test.noDigests
			draftWith(s, true, test.has)
			if test.noDigests {
				for _, a := range s.Releases()[0].Assets {
					a.Digest = ""
				}
			}
			p := publisher(t, s, io.Discard)
			p.Replace = test.replace
			err := p.Publish(t.Context(), testRelease(t, files), true, io.Discard)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("error is %v", err)
				}
				for _, request := range s.Requests() {
					if !strings.HasPrefix(request, "GET ") {
						t.Errorf("it sent %s", request)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(files, assetsOf(t, s)); diff != "" {
				t.Error(diff)
			}
			uploads := 0
			for _, request := range s.Requests() {
				if strings.HasPrefix(request, "POST /api/uploads/") {
					uploads++
				}
			}
			if uploads != test.uploads {
				t.Errorf("%d uploads; wanted %d", uploads, test.uploads)
			}
		})
	}
}

func TestPublishedStays(t *testing.T) {
	for name, has := range map[string]map[string]string{
		"different": {"SHA256SUMS": "sums", "oem-a.raw": "other", "usr.bin": files["usr.bin"]},
		"less":      {"SHA256SUMS": "sums"},
		"more":      {"SHA256SUMS": "sums", "oem-a.raw": files["oem-a.raw"], "usr.bin": files["usr.bin"], "oem-z.raw": "z"},
	} {
		t.Run(name, func(t *testing.T) {
			s := githubtest.New(t)
			draftWith(s, false, has)
			p := publisher(t, s, io.Discard)
			p.Replace = true
			err := p.Publish(t.Context(), testRelease(t, files), true, io.Discard)
			if err == nil || !strings.Contains(err.Error(), "is published and would change (") {
				t.Errorf("error is %v", err)
			}
			if diff := gocmp.Diff(has, assetsOf(t, s)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusesEarly(t *testing.T) {
	many := map[string]string{}
	for i := range 1001 {
		many[fmt.Sprint(i)] = "x"
	}
	for name, test := range map[string]struct {
		server  func(*githubtest.Server)
		token   string
		content map[string]string
		change  func(*Release)
		says    string
	}{
		"no token":     {token: "-", says: "GITHUB_TOKEN is missing, has expired or was revoked"},
		"no scope":     {server: func(s *githubtest.Server) { s.Scopes = "gist, read:org" }, says: `the token has the scopes "gist, read:org"; wanted repo`},
		"may not push": {server: func(s *githubtest.Server) { s.MayPush = false }, says: "wanted one with the permission contents: write"},
		"app may read": {server: func(s *githubtest.Server) { s.MayPush, s.IsApp, s.MayWrite = false, true, false }, says: "permission contents: write"},
		"empty file":   {content: map[string]string{"a": ""}, says: "a is empty"},
		"other name":   {content: map[string]string{"a+b": "x"}, says: `would rename "a+b"`},
		"hidden":       {content: map[string]string{".a": "x"}, says: `would rename ".a"`},
		"too many":     {content: many, says: "1001 files; GitHub takes 1000"},
		"too large":    {change: func(r *Release) { r.Files[0].Size = 2 * size.GiB }, says: "has 2.0 GiB, and GitHub takes less than 2 GiB"},
		"two drafts":   {server: func(s *githubtest.Server) { draftWith(s, true, nil); draftWith(s, true, nil) }, says: "has 2 drafts of 1.2.3-amd64; delete all but one"},
		"other repo":   {change: func(*Release) {}, server: func(s *githubtest.Server) { s.URL += "/elsewhere" }, says: "HTTP status 403"},
	} {
		t.Run(name, func(t *testing.T) {
			s := githubtest.New(t)
			if test.server != nil {
				test.server(s)
			}
			if test.content == nil {
				test.content = files
			}
			r := testRelease(t, test.content)
			if test.change != nil {
				test.change(r)
			}
			p := publisher(t, s, io.Discard)
			if test.token != "" {
				hosted(p).Client = s.Client(t, test.token)
			}
			err := p.Publish(t.Context(), r, true, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v", err)
			}
			for _, request := range s.Requests() {
				if strings.HasPrefix(request, "POST /api/uploads/") {
					t.Errorf("it sent %s", request)
				}
			}
			for _, one := range s.Releases() {
				if !one.Draft {
					t.Errorf("it published %+v", one)
				}
			}
		})
	}
}

func TestAppsTokenMayPublish(t *testing.T) {
	s := githubtest.New(t)
	s.MayPush, s.IsApp = false, true
	if err := publisher(t, s, io.Discard).Publish(t.Context(), testRelease(t, files), true, io.Discard); err != nil {
		t.Fatal(err)
	}
	assetsOf(t, s)
}

func TestManyPages(t *testing.T) {
	s := githubtest.New(t)
	s.PageSize = 2
	for i := range 7 {
		s.Add(githubtest.Release{Tag: fmt.Sprint(i)})
	}
	content := map[string]string{}
	for i := range 5 {
		content[fmt.Sprint("file", i)] = "x"
	}
	p := publisher(t, s, io.Discard)
	for range 2 { // the draft's assets are on three pages
		if err := p.Publish(t.Context(), testRelease(t, content), true, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.Releases()); got != 8 {
		t.Errorf("%d releases", got)
	}
}

func TestChangedWhilePublished(t *testing.T) {
	s := githubtest.New(t)
	r := testRelease(t, files)
	changed := "v" + files["usr.bin"][1:] // of the same length
	if err := os.WriteFile(filepath.Join(r.Dir, "usr.bin"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	err := publisher(t, s, io.Discard).Publish(t.Context(), r, true, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "what the server has differs from what was uploaded (replace usr.bin)") {
		t.Errorf("error is %v", err)
	}
	if !s.Releases()[0].Draft {
		t.Error("it is published")
	}
}

func TestTokenExpires(t *testing.T) {
	s := githubtest.New(t)
	r := testRelease(t, files)
	p := publisher(t, s, io.Discard)
	hosted(p).Stall = time.Second
	uploads := 0
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/api/uploads/") {
			uploads++
		}
		if uploads < 2 {
			return false
		}
		http.Error(w, `{"message": "Bad credentials"}`, http.StatusUnauthorized)
		return true
	}
	err := p.Publish(t.Context(), r, true, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "has expired or was revoked") || !strings.Contains(err.Error(), "the next run goes on") {
		t.Errorf("error is %v", err)
	}
	if uploads != 2 {
		t.Errorf("%d uploads; wanted that it stops at the second", uploads)
	}
	s.Intercept = nil
	if err := p.Publish(t.Context(), r, true, io.Discard); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(files, assetsOf(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestServerTakesNothing(t *testing.T) {
	s := githubtest.New(t)
	stop := make(chan struct{})
	s.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/api/uploads/") {
			return false
		}
		select {
		case <-stop:
		case <-r.Context().Done():
		}
		return true
	}
	t.Cleanup(func() { close(stop) })
	p := publisher(t, s, io.Discard)
	hosted(p).Stall = 20 * time.Millisecond
	r := testRelease(t, map[string]string{"usr.bin": strings.Repeat("u", 32<<20)}) // more than buffers take
	err := p.Publish(t.Context(), r, true, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "the server took nothing for 20ms") {
		t.Errorf("error is %v", err)
	}
}

func TestNotesAreCut(t *testing.T) {
	s := githubtest.New(t)
	r := testRelease(t, files)
	r.Notes = strings.Repeat("ä line\n", 30_000)
	if err := publisher(t, s, io.Discard).Publish(t.Context(), r, true, io.Discard); err != nil {
		t.Fatal(err)
	}
	if body := s.Releases()[0].Body; !strings.HasSuffix(body, "ä line\n\n(The rest is in report.md.)\n") {
		t.Errorf("notes end with %q", body[len(body)-60:])
	}
}

func TestMayPublish(t *testing.T) {
	const tag = "1.2.3-amd64"
	for name, test := range map[string]struct {
		server func(*githubtest.Server)
		token  string
		says   string
	}{
		"may":                   {},
		"app may":               {server: func(s *githubtest.Server) { s.MayPush, s.IsApp = false, true }},
		"classic may":           {server: func(s *githubtest.Server) { s.Scopes = "repo" }},
		"draft is there":        {server: func(s *githubtest.Server) { s.Add(githubtest.Release{Tag: tag, Draft: true}) }},
		"no token":              {token: "-", says: "GITHUB_TOKEN is missing, has expired or was revoked"},
		"no scope":              {server: func(s *githubtest.Server) { s.Scopes = "gist" }, says: "wanted repo"},
		"its owner may, not it": {server: func(s *githubtest.Server) { s.MayWrite = false }, says: "permission contents: write"},
		"app may not":           {server: func(s *githubtest.Server) { s.MayPush, s.IsApp, s.MayWrite = false, true, false }, says: "permission contents: write"},
		"published":             {server: func(s *githubtest.Server) { s.Add(githubtest.Release{Tag: tag}) }, says: "is published already"},
	} {
		t.Run(name, func(t *testing.T) {
			s := githubtest.New(t)
			if test.server != nil {
				test.server(s)
			}
			p := publisher(t, s, io.Discard)
			if test.token != "" {
				hosted(p).Client = s.Client(t, test.token)
			}
			before := len(s.Releases())
			err := p.MayPublish(t.Context(), tag)
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v; wanted %q", err, test.says)
			}
			if len(s.Releases()) != before {
				t.Error("it made a release")
			}
		})
	}
}

func TestPrevious(t *testing.T) {
	s := githubtest.New(t)
	for _, r := range []githubtest.Release{
		{Tag: "1.0.0-amd64", Created: "2026-01-01T00:00:00Z"},
		{Tag: "1.2.0-amd64", Created: "2026-01-03T00:00:00Z"},
		{Tag: "1.1.0-amd64", Created: "2026-01-02T00:00:00Z"}, // made later, of an older commit
		{Tag: "1.2.1-amd64", Created: "2026-01-04T00:00:00Z", Prerelease: true},
		{Tag: "1.2.2-arm64", Created: "2026-01-05T00:00:00Z"},
		{Tag: "1.2.3-amd64", Created: "2026-01-06T00:00:00Z"},
		{Tag: "1.2.4-amd64", Created: "2026-01-07T00:00:00Z", Draft: true},
	} {
		s.Add(r)
	}
	p := publisher(t, s, io.Discard)
	for _, test := range []struct {
		tag, arch  string
		prerelease bool
		want       string
	}{
		{"1.2.3-amd64", "amd64", false, "1.2.0-amd64"},
		{"1.2.3-amd64", "amd64", true, "1.2.1-amd64"},
		{"2.0.0-arm64", "arm64", false, "1.2.2-arm64"},
		{"2.0.0-riscv64", "riscv64", true, ""},
	} {
		got, err := p.Previous(t.Context(), test.tag, test.arch, test.prerelease)
		if err != nil || got != test.want {
			t.Errorf("before %s: %q, %v; wanted %q", test.tag, got, err, test.want)
		}
	}
}

// TestFaults publishes under faults. A run may fail; then nothing is published, and some later run ends it.
func TestFaults(t *testing.T) {
	t.Parallel()
	const seeds, most = 200, 100
	content := map[string]string{}
	for i := range 6 {
		content[fmt.Sprintf("oem-%d.raw", i)] = strings.Repeat(fmt.Sprint(i), 50_000*(i+1))
	}
	reruns, faults := 0, map[string]int{}
	for seed := range uint64(seeds) {
		s := githubtest.New(t)
		s.NoDigests = seed%4 == 0
		s.Faults = githubtest.NewFaults(seed, 0.1*float64(1+seed%4), 10*time.Millisecond)
		r := testRelease(t, content)
		var log bytes.Buffer
		for run := 1; ; run++ {
			err := publisher(t, s, &log).Publish(t.Context(), r, true, &log)
			if err == nil {
				break
			}
			fmt.Fprintln(&log, err)
			for _, one := range s.Releases() {
				if !one.Draft && len(one.Assets) != len(content) {
					t.Fatalf("seed %d: published incomplete\n%s", seed, &log)
				}
			}
			if run == most {
				t.Fatalf("seed %d: not published after %d runs\n%s", seed, most, &log)
			}
			reruns++
		}
		if diff := gocmp.Diff(content, assetsOf(t, s)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		if strings.Contains(log.String(), githubtest.Token) {
			t.Fatalf("seed %d: the token shows\n%s", seed, &log)
		}
		for kind, n := range s.Faults.Count {
			faults[kind] += n
		}
	}
	t.Logf("%d seeds, %d runs had to be followed by another; faults: %v", seeds, reruns, faults)
	for _, kind := range []string{"502", "502 after", "cut", "cut after", "cut within", "limit", "secondary limit", "timeout"} {
		if faults[kind] == 0 {
			t.Errorf("no fault of the kind %q", kind)
		}
	}
}
