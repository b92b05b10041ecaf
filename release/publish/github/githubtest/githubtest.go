// Package githubtest is a stand-in for the part of GitHub's API that releases are published through, as strict as that is.
//
// It refuses what GitHub refuses: no or wrong credentials, tokens without the scope, uploads without a length, of another length
// than announced, to a published release, or with a name that is taken; and it renames what GitHub renames. An upload that is cut
// leaves an asset in the state "starter" that blocks its name until it is deleted. Faults are injected when there are some.
package githubtest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

// Token is the one that the server knows, and Repository the one that it has.
const (
	Token      = "ghp_hunter2hunter2" //nolint:gosec // of a stand-in
	Repository = "owner/tools"
)

// Server is one GitHub with one repository. Fields are set before it is used.
type Server struct {
	URL       string
	Scopes    string // of the token, as classic ones have; empty for others
	MayPush   bool   // what the repository says of the token
	IsApp     bool   // the token is an app's
	MayWrite  bool   // what happens to writes
	NoDigests bool   // assets have none, as on older servers
	Keep      bool   // content is kept, to be read back
	Faults    *Faults
	Intercept func(http.ResponseWriter, *http.Request) bool // answers what it likes to, and tells whether it did
	PageSize  int                                           // the largest page
	Branches  func(name string) bool                        // of the repository, for pull requests

	mu       sync.Mutex
	next     int64
	releases []*Release
	tags     map[string]bool
	items    []*Item  // issues and pull requests
	requests []string // method and path, in order
}

// Release is one on the server.
type Release struct {
	ID         int64    `json:"id"`
	Tag        string   `json:"tag_name"`
	Commit     string   `json:"target_commitish"`
	Name       string   `json:"name"`
	Body       string   `json:"body"`
	Draft      bool     `json:"draft"`
	Prerelease bool     `json:"prerelease"`
	Created    string   `json:"created_at"`
	Assets     []*Asset `json:"assets"`
	UploadURL  string   `json:"upload_url"`
	HTMLURL    string   `json:"html_url"`
}

// Asset is one file of a release.
type Asset struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	State   string `json:"state"`
	Size    int64  `json:"size"`
	Digest  string `json:"digest,omitempty"`
	URL     string `json:"browser_download_url"`
	Content []byte `json:"-"`
}

// New starts a server whose token may do everything.
func New(t testing.TB) *Server {
	s := &Server{tags: map[string]bool{}, MayPush: true, MayWrite: true, Keep: true, PageSize: 100}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Client returns a client with a token that does not wait long.
func (s *Server) Client(t testing.TB, token string) *github.Client {
	t.Helper()
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax = 2, time.Millisecond, 4*time.Millisecond
	transport := cleanhttp.DefaultPooledTransport()
	transport.ResponseHeaderTimeout = 2 * time.Second
	client.HTTPClient = &http.Client{Transport: transport}
	environment := map[string]string{github.EnvAPI: s.URL + "/api/v3", github.EnvServer: s.URL, github.EnvToken: token}
	c, err := github.NewFrom(func(name string) string { return environment[name] }, client)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Releases returns what there is.
func (s *Server) Releases() []Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Release
	for _, r := range s.releases {
		one := *r
		one.Assets = slices.Clone(r.Assets)
		list = append(list, one)
	}
	return list
}

// Tags returns the tags of the repository, sorted.
func (s *Server) Tags() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for tag, there := range s.tags {
		if there {
			list = append(list, tag)
		}
	}
	slices.Sort(list)
	return list
}

// Requests returns what was asked for and forgets it.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.requests
	s.requests = nil
	return asked
}

// Add puts a release on the server.
func (s *Server) Add(r Release) *Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(r)
}

func (s *Server) add(r Release) *Release {
	s.next++
	r.ID = s.next
	if r.Created == "" {
		r.Created = time.Unix(1700000000+s.next, 0).UTC().Format(time.RFC3339)
	}
	r.UploadURL = fmt.Sprintf("%s/api/uploads/repos/%s/releases/%d/assets{?name,label}", s.URL, Repository, r.ID)
	r.HTMLURL = s.URL + "/" + Repository + "/releases/tag/" + r.Tag
	for _, a := range r.Assets {
		s.next++
		a.ID = s.next
	}
	s.releases = append(s.releases, &r)
	s.tags[r.Tag] = s.tags[r.Tag] || !r.Draft
	return &r
}

// refusal is an answer that is an error, as GitHub words it.
type refusal struct {
	status  int
	message string
	code    string // of the field that is wrong
	field   string
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if s.Intercept != nil && s.Intercept(w, r) {
		return
	}
	if s.Faults != nil {
		s.Faults.serve(w, r, s.handle)
		return
	}
	s.handle(w, r)
}

var route = regexp.MustCompile(`^/api/(?:v3|uploads)/repos/owner/tools(/releases(?:/generate-notes|/assets/(\d+)|/(\d+)(/assets)?)?|/(issues|pulls)(?:/(\d+))?)?$`)

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	answer, status := s.answer(r)
	switch answer := answer.(type) {
	case refusal:
		body := map[string]any{"message": answer.message, "documentation_url": "https://docs.github.com/rest"}
		if answer.code != "" {
			body["errors"] = []any{map[string]string{"resource": "ReleaseAsset", "code": answer.code, "field": answer.field}}
		}
		w.WriteHeader(answer.status)
		_ = json.NewEncoder(w).Encode(body)
	case []byte:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(answer)
	case page:
		if answer.more {
			next := *r.URL
			query := next.Query()
			query.Set("page", strconv.Itoa(answer.number+1))
			next.RawQuery = query.Encode()
			w.Header().Set("Link", fmt.Sprintf(`<%s%s>; rel="next"`, s.URL, next.String()))
		}
		_ = json.NewEncoder(w).Encode(answer.items)
	case nil:
		w.WriteHeader(status)
	default:
		if s.Scopes != "" {
			w.Header().Set("X-Oauth-Scopes", s.Scopes)
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// answer does what a request asks for.
func (s *Server) answer(r *http.Request) (any, int) {
	if r.Header.Get("Authorization") != "Bearer "+Token {
		return refusal{status: 401, message: "Bad credentials"}, 0
	}
	if r.URL.Path == "/api/v3/installation/repositories" && s.IsApp {
		return map[string]any{}, 200
	}
	if tag, isTag := strings.CutPrefix(r.URL.Path, "/api/v3/repos/"+Repository+"/git/refs/tags/"); isTag && r.Method == http.MethodDelete && s.MayWrite {
		return s.deleteTag(tag)
	}
	if r.URL.Path == "/api/v3/repos/"+Repository+"/releases/generate-notes" && r.Method == http.MethodPost && s.MayWrite {
		return map[string]string{"name": "", "body": ""}, 200
	}
	found := route.FindStringSubmatch(r.URL.Path)
	if found == nil {
		return refusal{status: 403, message: "You must authenticate with an installation access token"}, 0
	}
	if r.Method != http.MethodGet && !s.MayWrite {
		return refusal{status: 403, message: "Resource not accessible by integration"}, 0
	}
	if found[5] != "" {
		return s.track(r, found[5], found[6])
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(found[i], 10, 64); return n }
	switch {
	case found[1] == "" && r.Method == http.MethodGet:
		return map[string]any{"full_name": Repository, "permissions": map[string]bool{"push": s.MayPush, "pull": true}}, 200
	case found[2] != "":
		return s.asset(r, number(2))
	case found[4] != "" && strings.HasPrefix(r.URL.Path, "/api/uploads/") && r.Method == http.MethodPost:
		return s.upload(r, number(3))
	case found[4] != "" && r.Method == http.MethodGet:
		return s.listAssets(r, number(3))
	case found[3] != "":
		return s.release(r, number(3))
	case r.Method == http.MethodGet:
		return s.list(r)
	case r.Method == http.MethodPost:
		return s.create(r)
	}
	return refusal{status: 404, message: "Not Found"}, 0
}

type page struct {
	items  any
	number int
	more   bool
}

// paged returns one page of a list.
func paged[T any](s *Server, r *http.Request, all []T) page {
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	perPage, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	number, perPage = max(number, 1), min(max(perPage, 1), s.PageSize)
	from := min((number-1)*perPage, len(all))
	to := min(from+perPage, len(all))
	return page{append([]T{}, all[from:to]...), number, to < len(all)}
}

// list has the newest first, and drafts for those who may write.
func (s *Server) list(r *http.Request) (any, int) {
	list := s.Releases()
	slices.Reverse(list)
	return paged(s, r, slices.DeleteFunc(list, func(one Release) bool { return one.Draft && !s.MayWrite })), 200
}

func (s *Server) listAssets(r *http.Request, id int64) (any, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.byID(id); one != nil {
		var list []Asset
		for _, a := range one.Assets {
			list = append(list, *a)
		}
		return paged(s, r, list), 200
	}
	return refusal{status: 404, message: "Not Found"}, 0
}

func (s *Server) byID(id int64) *Release {
	for _, r := range s.releases {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// decode reads the fields of a release that clients set.
func decode(r *http.Request, to *Release) error {
	var fields struct {
		Tag        *string `json:"tag_name"`
		Commit     *string `json:"target_commitish"`
		Name       *string `json:"name"`
		Body       *string `json:"body"`
		Draft      *bool   `json:"draft"`
		Prerelease *bool   `json:"prerelease"`
	}
	err := json.NewDecoder(r.Body).Decode(&fields)
	set(&to.Tag, fields.Tag)
	set(&to.Commit, fields.Commit)
	set(&to.Name, fields.Name)
	set(&to.Body, fields.Body)
	set(&to.Draft, fields.Draft)
	set(&to.Prerelease, fields.Prerelease)
	return err
}

func set[T any](to, value *T) {
	if value != nil {
		*to = *value
	}
}

func (s *Server) create(r *http.Request) (any, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var made Release
	if err := decode(r, &made); err != nil {
		return refusal{status: 400, message: "Problems parsing JSON"}, 0
	}
	if refused := s.checkFields(&made); refused != nil {
		return *refused, 0
	}
	return *s.add(made), 201
}

func (s *Server) checkFields(r *Release) *refusal {
	switch {
	case r.Tag == "":
		return &refusal{status: 422, message: "Validation Failed", code: "missing_field", field: "tag_name"}
	case len([]rune(r.Body)) > 125000:
		return &refusal{status: 422, message: "body is too long (maximum is 125000 characters)"}
	}
	// A published tag is taken. Of drafts there may be many.
	for _, other := range s.releases {
		if other.Tag == r.Tag && other.ID != r.ID && !other.Draft && !r.Draft {
			return &refusal{status: 422, message: "Validation Failed", code: "already_exists", field: "tag_name"}
		}
	}
	return nil
}

func (s *Server) release(r *http.Request, id int64) (any, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byID(id)
	if one == nil {
		return refusal{status: 404, message: "Not Found"}, 0
	}
	switch r.Method {
	case http.MethodGet:
		return *one, 200
	case http.MethodDelete:
		s.releases = slices.DeleteFunc(s.releases, func(other *Release) bool { return other == one })
		return nil, 204
	case http.MethodPatch:
		changed := *one
		if err := decode(r, &changed); err != nil {
			return refusal{status: 400, message: "Problems parsing JSON"}, 0
		}
		if refused := s.checkFields(&changed); refused != nil {
			return *refused, 0
		}
		*one = changed
		s.tags[one.Tag] = s.tags[one.Tag] || !one.Draft
		return *one, 200
	}
	return refusal{status: 404, message: "Not Found"}, 0
}

func (s *Server) asset(r *http.Request, id int64) (any, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.releases {
		at := slices.IndexFunc(one.Assets, func(a *Asset) bool { return a.ID == id })
		switch {
		case at < 0:
			continue
		case r.Method == http.MethodGet && r.Header.Get("Accept") == "application/octet-stream":
			return one.Assets[at].Content, 200
		case r.Method == http.MethodGet:
			return *one.Assets[at], 200
		case r.Method == http.MethodDelete && !one.Draft:
			return refusal{status: 422, message: "Cannot delete asset from an immutable release"}, 0
		case r.Method == http.MethodDelete:
			one.Assets = slices.Delete(one.Assets, at, at+1)
			return nil, 204
		}
	}
	return refusal{status: 404, message: "Not Found"}, 0
}

// deleteTag makes a draft of what was published under the tag.
func (s *Server) deleteTag(tag string) (any, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tags[tag] {
		return refusal{status: 422, message: "Reference does not exist"}, 0
	}
	s.tags[tag] = false
	for _, r := range s.releases {
		r.Draft = r.Draft || r.Tag == tag
	}
	return nil, 204
}

var renamed = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// upload takes an asset. The name is taken before the content arrives.
func (s *Server) upload(r *http.Request, id int64) (any, int) {
	made, refused := s.begin(r, id)
	if refused != nil {
		return *refused, 0
	}
	hash := sha256.New()
	var kept strings.Builder
	to := io.Writer(hash)
	if s.Keep {
		to = io.MultiWriter(hash, &kept)
	}
	n, err := io.Copy(to, r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || n != r.ContentLength {
		return refusal{status: 400, message: "Bad Content-Length"}, 0 // and the asset stays a starter
	}
	made.State, made.Size, made.Content = "uploaded", n, []byte(kept.String())
	if !s.NoDigests {
		made.Digest = fmt.Sprintf("sha256:%x", hash.Sum(nil))
	}
	return *made, 201
}

func (s *Server) begin(r *http.Request, id int64) (*Asset, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byID(id)
	name := renamed.ReplaceAllString(r.URL.Query().Get("name"), ".")
	switch {
	case one == nil:
		return nil, &refusal{status: 404, message: "Not Found"}
	case !one.Draft:
		return nil, &refusal{status: 422, message: "Cannot upload assets to an immutable release."}
	case r.ContentLength <= 0:
		return nil, &refusal{status: 400, message: "Bad Content-Length"}
	case r.ContentLength >= 2<<30:
		return nil, &refusal{status: 422, message: "Validation Failed", code: "custom", field: "size"}
	case r.Header.Get("Content-Type") == "":
		return nil, &refusal{status: 400, message: "Content-Type is missing"}
	case name == "":
		return nil, &refusal{status: 422, message: "Validation Failed", code: "missing_field", field: "name"}
	case len(one.Assets) == 1000:
		return nil, &refusal{status: 422, message: "Validation Failed", code: "custom", field: "count"}
	case slices.ContainsFunc(one.Assets, func(a *Asset) bool { return a.Name == name }):
		return nil, &refusal{status: 422, message: "Validation Failed", code: "already_exists", field: "name"}
	}
	s.next++
	made := &Asset{ID: s.next, Name: name, State: "starter", URL: s.URL + "/" + Repository + "/releases/download/" + one.Tag + "/" + name}
	one.Assets = append(one.Assets, made)
	return made, nil
}
