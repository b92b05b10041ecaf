// Package github keeps releases on GitHub, or on a server that speaks like it.
//
// In go releases, as drafts that become published; out comes what the server has. Refused are files that GitHub does not take, and
// tokens that may not write. The API is that of https://docs.github.com/rest/releases, and so are the limits.
package github

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v57/github"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/forge"
)

type release = gh.RepositoryRelease

// Repository is one repository.
type Repository struct {
	Client   *github.Client
	Name     string // OWNER/NAME
	Progress *progress.Display
	Stall    time.Duration // how long the server may take nothing of an upload
}

var _ forge.Forge = &Repository{}

// attempts is how often an upload is tried in one run.
const attempts = 6

// posted is a release in the words of all forges.
func posted(r *release) *forge.Posted {
	return &forge.Posted{
		ID: r.GetID(), Tag: r.GetTagName(), Address: r.GetHTMLURL(), Uploads: r.GetUploadURL(),
		Draft: r.GetDraft(), Prerelease: r.GetPrerelease(), Created: r.GetCreatedAt().Time,
	}
}

// uploaded is the state of an asset that is all there. One of a cut upload is a starter.
const uploaded = "uploaded"

// asset is one file of a release on the server. The library's has no digest.
type asset struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	State  string `json:"state"`
	Size   int64  `json:"size"`
	Digest string `json:"digest"` // sha256:…; empty for those uploaded before mid-2025, and on older servers
}

// ask sends a request that may be sent again, and decodes the answer.
func (p *Repository) ask(ctx context.Context, method, path string, body, answer any) (*gh.Response, error) {
	request, err := p.Client.API().NewRequest(method, "repos/"+p.Name+path, body)
	if err != nil {
		return nil, err
	}
	return p.Client.API().Do(ctx, request, answer)
}

// MayWrite looks whether the token may change the repository, as far as that can be told without changing it.
func (p *Repository) MayWrite(ctx context.Context) error {
	var repository struct {
		Permissions map[string]bool `json:"permissions"`
		Private     bool            `json:"private"`
	}
	response, err := p.ask(ctx, http.MethodGet, "", nil, &repository)
	if err != nil {
		return fmt.Errorf("repository %s: %w", p.Name, authorize(err))
	}
	// Only classic tokens have scopes, and only their answers have the header (docs.github.com, "Scopes for OAuth apps").
	if scopes, classic := response.Header["X-Oauth-Scopes"]; classic {
		has := strings.Split(strings.ReplaceAll(strings.Join(scopes, ","), " ", ""), ",")
		if !slices.Contains(has, "repo") && (repository.Private || !slices.Contains(has, "public_repo")) {
			return fmt.Errorf("the token has the scopes %q; wanted repo, or for a public repository public_repo", strings.Join(scopes, ","))
		}
	}
	if repository.Permissions["push"] {
		return nil
	}
	// The token of an app, as workflows have it, is never told that it may push. Whether it may is seen when the draft is made,
	// before anything is uploaded.
	request, err := p.Client.API().NewRequest(http.MethodHead, "installation/repositories?per_page=1", nil)
	if err != nil {
		return err
	}
	if _, err := p.Client.API().Do(ctx, request, nil); err == nil {
		return nil
	}
	return fmt.Errorf("the token may not write to %s; wanted one with the permission contents: write", p.Name)
}

// authorize says what to do about a token that does not work.
func authorize(err error) error {
	explained := github.Explain(err)
	switch status(err) {
	case http.StatusUnauthorized:
		return fmt.Errorf("%w; %s is missing, has expired or was revoked", explained, github.EnvToken)
	case http.StatusForbidden, http.StatusNotFound:
		return fmt.Errorf("%w; wanted a token in %s with the permission contents: write for it", explained, github.EnvToken)
	}
	return explained
}

// status returns the HTTP status of an error that is an answer, and 0 for others.
func status(err error) int {
	var answer *gh.ErrorResponse
	if errors.As(err, &answer) && answer.Response != nil {
		return answer.Response.StatusCode
	}
	return 0
}

// isFinal tells whether asking again gives the same answer. Limits pass, and are errors of other types
// or have a time to wait; a name that is taken may be by the leftovers of a cut upload.
func isFinal(err error) bool {
	var answer *gh.ErrorResponse
	if !errors.As(err, &answer) || answer.Response == nil {
		var missing *os.PathError
		return errors.As(err, &missing)
	}
	taken := slices.ContainsFunc(answer.Errors, func(e gh.Error) bool { return e.Code == "already_exists" })
	code := answer.Response.StatusCode
	return code < 500 && code != http.StatusTooManyRequests && code != http.StatusRequestTimeout &&
		answer.Response.Header.Get("Retry-After") == "" && !taken
}

// maxPages bounds what a server can make us read.
const maxPages = 200

// pages calls one with each page of a list until there are no more.
func pages(one func(page int) (*gh.Response, error)) error {
	for page := 1; page <= maxPages; {
		response, err := one(page)
		if err != nil {
			return err
		}
		if response.NextPage <= page {
			return nil
		}
		page = response.NextPage
	}
	return fmt.Errorf("more than %d pages", maxPages)
}

// Releases returns every release of the repository, with drafts.
func (p *Repository) Releases(ctx context.Context) ([]*forge.Posted, error) {
	var list []*forge.Posted
	err := pages(func(page int) (*gh.Response, error) {
		var some []*release
		response, err := p.ask(ctx, http.MethodGet, fmt.Sprintf("/releases?per_page=100&page=%d", page), nil, &some)
		for _, r := range some {
			list = append(list, posted(r))
		}
		return response, err
	})
	if err != nil {
		return nil, fmt.Errorf("releases of %s: %w", p.Name, authorize(err))
	}
	return list, nil
}

// find returns the release of a tag, or its draft, or nil. Drafts are not found by their tag, so all are looked through.
func (p *Repository) find(ctx context.Context, tag string) (*forge.Posted, error) {
	list, err := p.Releases(ctx)
	if err != nil {
		return nil, err
	}
	return forge.Find(list, p.Name, tag)
}

// Draft makes one. When the answer is lost it looks whether there is one now: made twice, there would be two.
func (p *Repository) Draft(ctx context.Context, r *forge.Release) (*forge.Posted, error) {
	for attempt := 0; ; attempt++ {
		made := new(release)
		response, err := p.ask(github.Once(ctx), http.MethodPost, "/releases", fields(r, true), made)
		if err == nil {
			return posted(made), nil
		}
		if ctx.Err() != nil || isFinal(err) || attempt == attempts-1 {
			return nil, fmt.Errorf("draft of %s: %w", r.Tag, authorize(err))
		}
		if waitErr := p.Client.Pause(ctx, attempt, response); waitErr != nil {
			return nil, errors.Join(github.Explain(err), waitErr)
		}
		if found, err := p.find(ctx, r.Tag); err != nil || found != nil {
			return found, err
		}
	}
}

// Publish turns the draft into a release for everybody.
func (p *Repository) Publish(ctx context.Context, draft *forge.Posted, r *forge.Release) (*forge.Posted, error) {
	published := new(release)
	_, err := p.ask(ctx, http.MethodPatch, fmt.Sprintf("/releases/%d", draft.ID), fields(r, false), published)
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", r.Tag, authorize(err))
	}
	if published.GetDraft() || published.GetTagName() != r.Tag {
		return nil, fmt.Errorf("publish %s: the server says that it is a draft still, or of another tag (%q)", r.Tag, published.GetTagName())
	}
	return posted(published), nil
}

func fields(r *forge.Release, draft bool) *release {
	f := &release{TagName: &r.Tag, Name: &r.Title, Body: gh.String(notes(r)), Draft: &draft, Prerelease: &r.Prerelease}
	if r.Commit != "" {
		f.TargetCommitish = &r.Commit
	}
	return f
}

// Assets returns the files of a release, and what cut uploads left.
func (p *Repository) Assets(ctx context.Context, of *forge.Posted) ([]forge.Asset, error) {
	var list []forge.Asset
	err := pages(func(page int) (*gh.Response, error) {
		var some []asset
		response, err := p.ask(ctx, http.MethodGet, fmt.Sprintf("/releases/%d/assets?per_page=100&page=%d", of.ID, page), nil, &some)
		for _, a := range some {
			list = append(list, forge.Asset{ID: a.ID, Name: a.Name, Whole: a.State == uploaded, Size: a.Size, Digest: a.Digest})
		}
		return response, err
	})
	if err != nil {
		return nil, fmt.Errorf("assets of %s: %w", of.Tag, authorize(err))
	}
	return list, nil
}

// Delete removes an asset. One that is gone already is fine: an answer may have been lost.
func (p *Repository) Delete(ctx context.Context, a forge.Asset) error {
	_, err := p.ask(ctx, http.MethodDelete, fmt.Sprintf("/releases/assets/%d", a.ID), nil, nil)
	if err != nil && status(err) != http.StatusNotFound {
		return fmt.Errorf("delete %s: %w", a.Name, authorize(err))
	}
	return nil
}

// Same tells whether an asset is a file, by the digest that the server has of it, or by reading it back.
func (p *Repository) Same(ctx context.Context, a forge.Asset, f manifest.File) (bool, error) {
	if !a.Whole || size.Bytes(a.Size) != f.Size {
		return false, nil
	}
	if a.Digest != "" {
		return a.Digest == "sha256:"+f.SHA256.String(), nil
	}
	for attempt := 0; ; attempt++ {
		hash := sha256.New()
		response, err := p.download(ctx, a, hash)
		if err == nil {
			return digest.SHA256(hash.Sum(nil)) == f.SHA256, nil
		}
		if ctx.Err() != nil || isFinal(err) || attempt == attempts-1 {
			return false, fmt.Errorf("read back %s: %w", a.Name, authorize(err))
		}
		if err := p.Client.Pause(ctx, attempt, response); err != nil {
			return false, err
		}
	}
}

func (p *Repository) download(ctx context.Context, a forge.Asset, to io.Writer) (*gh.Response, error) {
	request, err := p.downloadRequest(a)
	if err != nil {
		return nil, err
	}
	return p.Client.API().Do(ctx, request, to)
}

// downloadRequest asks for the content of an asset, as which it is answered or redirected to.
func (p *Repository) downloadRequest(a forge.Asset) (*http.Request, error) {
	request, err := p.Client.API().NewRequest(http.MethodGet, fmt.Sprintf("repos/%s/releases/assets/%d", p.Name, a.ID), nil)
	if err == nil {
		request.Header.Set("Accept", "application/octet-stream")
	}
	return request, err
}

// Open begins to download an asset.
func (p *Repository) Open(ctx context.Context, a forge.Asset) (io.ReadCloser, error) {
	request, err := p.downloadRequest(a)
	if err != nil {
		return nil, err
	}
	response, err := p.Client.API().BareDo(ctx, request)
	if err != nil {
		return nil, github.Explain(err)
	}
	return response.Body, nil
}

// Remove removes the tag of a release first, which makes it a draft. In the other order a run that dies in between would
// leave a tag that nothing looks for.
func (p *Repository) Remove(ctx context.Context, r *forge.Posted) error {
	for _, path := range []string{"/git/refs/tags/" + url.PathEscape(r.Tag), fmt.Sprintf("/releases/%d", r.ID)} {
		_, err := p.ask(ctx, http.MethodDelete, path, nil, nil)
		// A tag that is gone already is an unprocessable reference (docs.github.com/rest/git/refs).
		if code := status(err); err != nil && code != http.StatusNotFound && code != http.StatusUnprocessableEntity {
			return fmt.Errorf("remove %s: %w", r.Tag, authorize(err))
		}
	}
	return nil
}

// MayRelease looks whether the token may write releases. It changes nothing.
func (p *Repository) MayRelease(ctx context.Context, tag string) error {
	// Only classic tokens tell what they may do. Of the others it shows in a request that is for those who may write releases,
	// and that writes none (docs.github.com/rest/releases/releases, "Generate release notes content for a release").
	_, err := p.ask(ctx, http.MethodPost, "/releases/generate-notes", map[string]string{"tag_name": tag}, nil)
	switch status(err) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return fmt.Errorf("releases of %s: %w", p.Name, authorize(err))
	}
	return nil
}
