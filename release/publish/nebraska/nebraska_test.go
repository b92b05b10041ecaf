package nebraska

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

const (
	earlier   = "4593.9.0"
	appID     = "e96281a6-d1af-4bde-9a0a-97b76e56dc57"
	channelID = "channel-2"
	token     = "a-secret"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// releaseDir makes a release of files with known content.
func releaseDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	m := manifest.Manifest{Schema: manifest.Schema, Version: "4593.9.1+oem", Arch: "amd64", Update: &manifest.Update{Group: "alpha"}}
	for name, platform := range map[string]string{"flatcar_production_update.gz": "", "oem-azure.gz": "azure", "oem-gce.gz": "gce"} {
		content := []byte("content of " + name)
		check(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
		m.Files = append(m.Files, manifest.File{Name: name, Size: size.Bytes(len(content)), SHA256: digest.Of(content)})
		m.Payloads = append(m.Payloads, manifest.Payload{File: name, Platform: platform})
	}
	slices.SortFunc(m.Payloads, func(a, b manifest.Payload) int { return strings.Compare(b.File, a.File) }) // not the OS first
	delta := manifest.DeltaFile(earlier)
	check(t, os.WriteFile(filepath.Join(dir, delta), []byte("delta"), 0o644))
	m.Files = append(m.Files, manifest.File{Name: delta, Size: 5, SHA256: digest.Of([]byte("delta"))})
	m.Deltas = []manifest.Delta{{File: delta, From: earlier}}
	encoded, err := m.Encode()
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, manifest.FileName), encoded, 0o644))
	return dir
}

func update(t *testing.T) *Update {
	t.Helper()
	u, err := Load(releaseDir(t), "https://example.org/amd64-usr/4593.9.1", "")
	check(t, err)
	return u
}

// strict is a Nebraska server that takes nothing which clients would choke on.
type strict struct {
	t        *testing.T
	packages []pkg
	channels []channel
	groups   []group
	running  []running // by the group that follows the channel
	floors   []string
	requests []string
	fail     func(r *http.Request, n int) int // status of the n-th request; 0 to serve it
	lose     bool                             // do what is asked, and answer 500
}

func newStrict(t *testing.T) *strict {
	s := &strict{t: t, groups: []group{{ID: "group-1", Name: "Alpha", Track: "alpha", Channel: channelID, Updates: true}, {Name: "Other", Channel: "channel-7"}}}
	for i := range 12 { // more than one page
		s.channels = append(s.channels, channel{ID: fmt.Sprint("channel-", i), App: appID, Name: []string{"edge", "beta"}[i%2], Color: "#777", Arch: 1 + i%2})
	}
	s.channels[2].Name = "alpha"
	s.channels[3].Name = "alpha"
	return s
}

func (s *strict) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	if r.Header.Get("Authorization") != "Bearer "+token {
		http.Error(w, "no token", http.StatusUnauthorized)
		return
	}
	if s.fail != nil {
		if status := s.fail(r, len(s.requests)); status != 0 {
			http.Error(w, "it is said that "+r.Header.Get("Authorization")+" came", status)
			return
		}
	}
	answer, err := s.answer(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if s.lose && r.Method == http.MethodPost {
		http.Error(w, "the database is gone", http.StatusInternalServerError)
		return
	}
	check(s.t, json.NewEncoder(w).Encode(answer))
}

func (s *strict) answer(r *http.Request) (any, error) {
	at := "/api/apps/" + appID
	switch r.Method + " " + r.URL.Path {
	case "GET /api/apps":
		return pageOf(r, "applications", []named{{ID: "other", Name: "Other"}, {ID: appID, Name: "Flatcar Container Linux"}}), nil
	case "GET " + at + "/channels":
		return pageOf(r, "channels", s.channels), nil
	case "GET " + at + "/groups":
		return pageOf(r, "groups", s.groups), nil
	case "GET " + at + "/packages":
		return pageOf(r, "packages", s.packages), nil
	case "GET " + at + "/groups/group-1/version_breakdown":
		return s.running, nil
	case "PUT /api/channels/" + channelID + "/floors/package-0":
		var f floor
		content, err := decode(r.Body, &f)
		if err != nil || keys(content) != "floor_reason" || f.Reason == "" || len(f.Reason) > 500 {
			return nil, fmt.Errorf("floor %v, %w", content, err)
		}
		s.floors = append(s.floors, "package-0")
		return map[string]string{"status": "ok"}, nil
	case "POST " + at + "/packages":
		return s.create(r.Body)
	case "PUT " + at + "/channels/" + channelID:
		return s.move(r.Body)
	}
	return nil, fmt.Errorf("no route for %s %s", r.Method, r.URL.Path)
}

// pageOf serves pages of at most ten, counted from one.
func pageOf[T any](r *http.Request, key string, all []T) map[string]any {
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	first := min(max(number-1, 0)*10, len(all))
	items := all[first:min(first+10, len(all))]
	return map[string]any{"totalCount": len(all), "count": len(items), key: items}
}

var (
	sha1Base64   = regexp.MustCompile(`^[A-Za-z0-9+/]{27}=$`)
	sha256Base64 = regexp.MustCompile(`^[A-Za-z0-9+/]{43}=$`)
	sha256Hex    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	decimal      = regexp.MustCompile(`^[1-9][0-9]*$`)
	semver       = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(\+[0-9A-Za-z.-]+)?$`)
)

// decode reads a body, and its fields as they are spelled.
func decode(body io.Reader, to any) (fields map[string]any, err error) {
	content, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	return fields, errors.Join(json.Unmarshal(content, to), json.Unmarshal(content, &fields))
}

func keys(object any) string {
	return strings.Join(slices.Sorted(maps.Keys(object.(map[string]any))), " ")
}

func (s *strict) create(body io.Reader) (any, error) {
	var p pkg
	content, err := decode(body, &p)
	if err != nil {
		return nil, err
	}
	// The fields of packageConfig, flatcarActionPackage and extraFiles in Nebraska's spec.yaml.
	if got := keys(content); got != "application_id arch channels_blacklist description extra_files filename flatcar_action hash size type url version" {
		return nil, fmt.Errorf("package has the fields %s", got)
	}
	if got := keys(content["flatcar_action"]); got != "sha256" {
		return nil, fmt.Errorf("flatcar_action has the fields %s", got)
	}
	for _, f := range content["extra_files"].([]any) {
		if got := keys(f); got != "hash hash256 name size" {
			return nil, fmt.Errorf("an extra file has the fields %s", got)
		}
	}
	for what, right := range map[string]bool{
		"application_id": p.App == appID, "arch": p.Arch == 1 || p.Arch == 2, "type": p.Type == 1,
		"version": semver.MatchString(p.Version), "url": strings.HasSuffix(p.URL, "/"),
		"filename": strings.HasPrefix(p.Filename, "flatcar_production_update"), "size": decimal.MatchString(p.Size),
		"hash": sha1Base64.MatchString(p.Hash), "description": p.Description != "", "channels_blacklist": p.Blacklist != nil,
		"flatcar_action": sha256Base64.MatchString(p.Action.SHA256),
	} {
		if !right {
			return nil, fmt.Errorf("%s of %+v", what, p)
		}
	}
	for _, f := range p.Extra {
		if f.Name == "" || !decimal.MatchString(f.Size) || !sha1Base64.MatchString(f.Hash) || !sha256Hex.MatchString(f.SHA256) {
			return nil, fmt.Errorf("extra file %+v", f)
		}
	}
	if slices.ContainsFunc(s.packages, func(other pkg) bool { return other.Version == p.Version && other.Arch == p.Arch }) {
		return nil, fmt.Errorf("duplicate key value violates unique constraint")
	}
	p.ID = fmt.Sprint("package-", len(s.packages))
	s.packages = append(s.packages, p)
	return p, nil
}

func (s *strict) move(body io.Reader) (any, error) {
	var c channel
	content, err := decode(body, &c)
	if err != nil {
		return nil, err
	}
	if got := keys(content); got != "application_id arch color name package_id" {
		return nil, fmt.Errorf("channel has the fields %s", got)
	}
	at := slices.IndexFunc(s.channels, func(known channel) bool { return known.ID == channelID })
	known := slices.ContainsFunc(s.packages, func(p pkg) bool { return p.ID == c.Package && p.Arch == c.Arch })
	c.ID = channelID
	was := s.channels[at]
	was.Package = c.Package
	if !known || c != was {
		return nil, fmt.Errorf("channel %+v; package known: %v", c, known)
	}
	s.channels[at] = c
	return c, nil
}

// publish tells the server of the update, with short pauses before asking again.
func (s *strict) publish(u *Update, to Place, apply bool) (string, error) {
	web := httptest.NewServer(s)
	defer web.Close()
	client := fetch.NewClient(slog.New(slog.DiscardHandler))
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, time.Millisecond
	client.Backoff = retryablehttp.DefaultBackoff
	server, err := NewServer(web.URL+"/", token, client)
	check(s.t, err)
	var out bytes.Buffer
	err = server.Publish(s.t.Context(), u, to, apply, &out)
	if err != nil && strings.Contains(err.Error(), token) {
		s.t.Errorf("the token is in: %v", err)
	}
	return out.String(), err
}

var alpha = Place{App: FlatcarApp, Channel: "alpha"}

func TestPublishedOnce(t *testing.T) {
	s, u := newStrict(t), update(t)
	said, err := s.publish(u, Place{App: "Flatcar Container Linux", Channel: "alpha"}, true)
	check(t, err)
	if len(s.packages) != 1 || s.channels[2].Package != "package-0" || s.channels[3].Package != "" {
		t.Errorf("packages %v, channels %v", s.packages, s.channels)
	}
	want := "package 4593.9.1+oem for amd64 is made\nchannel alpha is at it now\ngroup Alpha follows channel alpha and gets it\n"
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
	s.requests = nil
	said, err = s.publish(u, alpha, true)
	check(t, err)
	want = "package 4593.9.1+oem for amd64 is there already\nchannel alpha is at it already\ngroup Alpha follows channel alpha and gets it\n"
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
	if changes := slices.DeleteFunc(s.requests, func(r string) bool { return strings.HasPrefix(r, "GET ") }); len(changes) > 0 {
		t.Errorf("the second time it sent %v", changes)
	}
}

// Machines that the release sends to a group must find one that follows the channel.
func TestReleaseOfAnotherGroup(t *testing.T) {
	if u := update(t); u.Group != "alpha" {
		t.Errorf("group of the release is %q", u.Group)
	}
	for group, says := range map[string]bool{"": false, "alpha": false, "edge": true} {
		u := update(t)
		u.Group = group
		said, err := newStrict(t).publish(u, alpha, true)
		check(t, err)
		if got := strings.Contains(said, "no group with the track "+group+" follows channel alpha"); got != says {
			t.Errorf("%q: %s", group, said)
		}
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	s, u := newStrict(t), update(t)
	said, err := s.publish(u, alpha, false)
	check(t, err)
	if len(s.packages) > 0 || slices.ContainsFunc(s.requests, func(r string) bool { return !strings.HasPrefix(r, "GET ") }) {
		t.Errorf("it sent %v", s.requests)
	}
	for _, want := range []string{
		"POST /api/apps/" + appID + "/packages", `"size": "39"`, "PUT /api/apps/" + appID + "/channels/" + channelID, `"package_id": "the id of`,
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in: %s", want, said)
		}
	}
}

func TestAnotherPackageOfTheVersion(t *testing.T) {
	s, u := newStrict(t), update(t)
	_, err := s.publish(u, alpha, true)
	check(t, err)
	for want, change := range map[string]func(p *pkg){
		"hash is else; wanted ":                func(p *pkg) { p.Hash = "else" },
		"sha256 of flatcar_action is":          func(p *pkg) { p.Action.SHA256 = "" },
		"oem-azure.gz is nothing; wanted 23":   func(p *pkg) { p.Extra = p.Extra[:1] },
		"oem-more.gz is 1 a b; wanted nothing": func(p *pkg) { p.Extra = append(slices.Clone(p.Extra), extraFile{"oem-more.gz", "1", "a", "b"}) },
		"url is http://x/; wanted https":       func(p *pkg) { p.URL = "http://x/" },
	} {
		whole := s.packages[0]
		change(&s.packages[0])
		if _, err := s.publish(u, alpha, true); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "another VERSION") {
			t.Errorf("error is %v; want %q", err, want)
		}
		s.packages[0] = whole
	}
}

func TestWhatIsNotOnTheServer(t *testing.T) {
	for want, to := range map[string]Place{
		`no application "Nope" on the server; there are "Other" (other), "Flatcar Container Linux"`: {App: "Nope", Channel: "alpha"},
		`has no channel "nightly" for amd64; there are edge, alpha, edge, edge, edge, edge`:         {App: FlatcarApp, Channel: "nightly"},
	} {
		s := newStrict(t)
		if _, err := s.publish(update(t), to, true); err == nil || !strings.Contains(err.Error(), want) || len(s.packages) > 0 {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

func TestAskedAgainOnlyWhenItMayHelp(t *testing.T) {
	for status, wantRequests := range map[int]int{400: 1, 401: 1, 403: 1, 404: 1, 500: 5, 503: 5} {
		s := newStrict(t)
		s.fail = func(*http.Request, int) int { return status }
		if _, err := s.publish(update(t), alpha, true); err == nil || !strings.Contains(err.Error(), strconv.Itoa(status)) {
			t.Errorf("status %d: %v", status, err)
		}
		if len(s.requests) != wantRequests {
			t.Errorf("status %d: %d requests; wanted %d", status, len(s.requests), wantRequests)
		}
	}
	s := newStrict(t)
	s.fail = func(_ *http.Request, n int) int { return []int{0, 502}[n%2] } // every other one
	_, err := s.publish(update(t), alpha, true)
	check(t, err)
	if len(s.packages) != 1 || s.channels[2].Package != "package-0" {
		t.Errorf("packages %v, channels %v", s.packages, s.channels)
	}
}

// TestLostAnswer makes the package and says that it failed; asked again, the version is there already.
func TestLostAnswer(t *testing.T) {
	s := newStrict(t)
	s.lose = true
	_, err := s.publish(update(t), alpha, true)
	check(t, err)
	if len(s.packages) != 1 || s.channels[2].Package != "package-0" {
		t.Errorf("packages %v, channels %v", s.packages, s.channels)
	}
}

func TestServersThatAreRefused(t *testing.T) {
	for address, want := range map[string]string{
		"":                            "wanted an http or https address",
		"ftp://example.org":           "wanted an http or https address",
		"https://user:pw@example.org": "without user and password",
		"http://example.org":          "in the clear",
	} {
		if _, err := NewServer(address, token, nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v; want %q", address, err, want)
		}
	}
	if _, err := NewServer("http://[::1]:8000", token, nil); err != nil {
		t.Error(err)
	}
}

func TestReleasesThatAreRefused(t *testing.T) {
	for _, codebase := range []string{"", "example.org/x", "ftp://example.org/", "https://u:p@example.org/", "https://example.org/?a=b", "https://example.org/#x"} {
		if _, err := Load(releaseDir(t), codebase, ""); err == nil || !strings.Contains(err.Error(), "CODEBASE: wanted") {
			t.Errorf("%q: %v", codebase, err)
		}
	}
	for want, spoil := range map[string]func(dir string) error{
		"oem-gce.gz is not the file that the manifest": func(dir string) error { return os.WriteFile(filepath.Join(dir, "oem-gce.gz"), nil, 0o644) },
		"oem-azure.gz: no such file":                   func(dir string) error { return os.Remove(filepath.Join(dir, "oem-azure.gz")) },
		"manifest.json: no such file":                  func(dir string) error { return os.Remove(filepath.Join(dir, manifest.FileName)) },
		"has no update payload of the OS": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, manifest.FileName), []byte(`{"schema": 2, "arch": "amd64"}`), 0o644)
		},
	} {
		dir := releaseDir(t)
		check(t, spoil(dir))
		if _, err := Load(dir, "https://example.org/", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

// TestOmahaAnswer is what update_engine and ue-rs read, written out.
func TestOmahaAnswer(t *testing.T) {
	var got bytes.Buffer
	check(t, update(t).WriteOmaha(&got))
	old := func(name string) string {
		sum := sha1.Sum([]byte("content of " + name))
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	sum := func(name string) []byte { s := sha256.Sum256([]byte("content of " + name)); return s[:] }
	extra := func(name string) string {
		return fmt.Sprintf(`          <package name="%s" hash="%s" hash_sha256="%s" size="%d" required="false"></package>`+"\n",
			name, old(name), hex.EncodeToString(sum(name)), len("content of "+name))
	}
	const osFile = "flatcar_production_update.gz"
	want := `<?xml version="1.0" encoding="UTF-8"?>
<response protocol="3.0" server="nebraska">
  <daystart elapsed_seconds="0"></daystart>
  <app appid="e96281a6-d1af-4bde-9a0a-97b76e56dc57" status="ok">
    <updatecheck status="ok">
      <urls>
        <url codebase="https://example.org/amd64-usr/4593.9.1/"></url>
      </urls>
      <manifest version="4593.9.1+oem">
        <packages>
          <package name="` + osFile + `" hash="` + old(osFile) + `" size="39" required="true"></package>
` + extra("oem-gce.gz") + extra("oem-azure.gz") + `        </packages>
        <actions>
          <action event="postinstall" sha256="` + base64.StdEncoding.EncodeToString(sum(osFile)) + `" DisablePayloadBackoff="true"></action>
        </actions>
      </manifest>
    </updatecheck>
  </app>
</response>
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

// TestUpdateFromOneVersion publishes what only machines of one version can apply.
func TestUpdateFromOneVersion(t *testing.T) {
	u, err := Load(releaseDir(t), "https://example.org/", earlier)
	check(t, err)
	if u.OS.Name != manifest.DeltaFile(earlier) || len(u.Extra) != 2 {
		t.Fatalf("update is %+v", u)
	}
	var answer bytes.Buffer
	check(t, u.WriteOmaha(&answer))
	for _, want := range []string{`IsDeltaPayload="true"`, `name="flatcar_production_update-from-4593.9.0.gz"`} {
		if !strings.Contains(answer.String(), want) {
			t.Errorf("the answer has no %s: %s", want, &answer)
		}
	}
	server := func() *strict {
		s := newStrict(t)
		s.packages = []pkg{{ID: "package-0", Version: earlier, Arch: 1}}
		s.channels[2].Package = "package-0"
		s.running = []running{{earlier, 7}, {"4593.8.0", 0}}
		return s
	}

	s := server()
	_, err = s.publish(u, alpha, false)
	check(t, err)
	if len(s.floors) > 0 || len(s.packages) != 1 {
		t.Errorf("without APPLY: floors %v, packages %v", s.floors, s.packages)
	}
	said, err := s.publish(u, alpha, true)
	check(t, err)
	if len(s.floors) != 1 || s.channels[2].Package != "package-1" || !strings.Contains(said, "4593.9.0 is a floor of channel alpha") {
		t.Errorf("floors %v, channel %+v: %s", s.floors, s.channels[2], said)
	}
	if _, err := s.publish(u, alpha, true); err != nil {
		t.Errorf("once more: %v", err)
	}

	for want, change := range map[string]func(s *strict){
		"channel alpha is not at 4593.9.0":         func(s *strict) { s.channels[2].Package = "" },
		"3 of group Alpha run 4593.8.0":            func(s *strict) { s.running = append(s.running, running{"4593.8.0", 3}) },
		"make 4593.9.0 a floor of channel alpha, ": func(s *strict) { s.fail = noFloors },
	} {
		s := server()
		change(s)
		if _, err := s.publish(u, alpha, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
		if len(s.packages) != 1 || s.channels[2].Package == "package-1" {
			t.Errorf("%s: packages %v, channel %v", want, s.packages, s.channels[2])
		}
	}
	if _, err := Load(releaseDir(t), "https://example.org/", "4593.8.0"); err == nil || !strings.Contains(err.Error(), "has no update from 4593.8.0") {
		t.Errorf("from a version without one: error is %v", err)
	}
}

// noFloors is a server that is too old for floors.
func noFloors(r *http.Request, _ int) int {
	if strings.Contains(r.URL.Path, "/floors/") {
		return http.StatusNotFound
	}
	return 0
}
