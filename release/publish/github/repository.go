package publish

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
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/github"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

type release = gh.RepositoryRelease

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
func (p *Publisher) ask(ctx context.Context, method, path string, body, answer any) (*gh.Response, error) {
	request, err := p.Client.API().NewRequest(method, "repos/"+p.Repository+path, body)
	if err != nil {
		return nil, err
	}
	return p.Client.API().Do(ctx, request, answer)
}

// mayWrite looks whether the token may change the repository, as far as that can be told without changing it.
func (p *Publisher) mayWrite(ctx context.Context) error {
	var repository struct {
		Permissions map[string]bool `json:"permissions"`
		Private     bool            `json:"private"`
	}
	response, err := p.ask(ctx, http.MethodGet, "", nil, &repository)
	if err != nil {
		return fmt.Errorf("repository %s: %w", p.Repository, authorize(err))
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
	return fmt.Errorf("the token may not write to %s; wanted one with the permission contents: write", p.Repository)
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

// all returns every release of the repository, with drafts.
func (p *Publisher) all(ctx context.Context) ([]*release, error) {
	var list []*release
	err := pages(func(page int) (*gh.Response, error) {
		var some []*release
		response, err := p.ask(ctx, http.MethodGet, fmt.Sprintf("/releases?per_page=100&page=%d", page), nil, &some)
		list = append(list, some...)
		return response, err
	})
	if err != nil {
		return nil, fmt.Errorf("releases of %s: %w", p.Repository, authorize(err))
	}
	return list, nil
}

// find returns the release of a tag, or its draft, or nil. Drafts are not found by their tag, so all are looked through.
func (p *Publisher) find(ctx context.Context, tag string) (*release, error) {
	list, err := p.all(ctx)
	if err != nil {
		return nil, err
	}
	var drafts []*release
	for _, r := range list {
		if r.GetTagName() != tag {
			continue
		}
		if !r.GetDraft() {
			return r, nil
		}
		drafts = append(drafts, r)
	}
	switch len(drafts) {
	case 0:
		return nil, nil
	case 1:
		return drafts[0], nil
	}
	return nil, fmt.Errorf("%s has %d drafts of %s; delete all but one", p.Repository, len(drafts), tag)
}

// draft makes one. When the answer is lost it looks whether there is one now: made twice, there would be two.
func (p *Publisher) draft(ctx context.Context, r *Release) (*release, error) {
	for attempt := 0; ; attempt++ {
		made := new(release)
		response, err := p.ask(github.Once(ctx), http.MethodPost, "/releases", r.fields(true), made)
		if err == nil {
			return made, nil
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

// release turns the draft into a release for everybody.
func (p *Publisher) release(ctx context.Context, draft *release, r *Release) (*release, error) {
	published := new(release)
	_, err := p.ask(ctx, http.MethodPatch, fmt.Sprintf("/releases/%d", draft.GetID()), r.fields(false), published)
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", r.Tag, authorize(err))
	}
	if published.GetDraft() || published.GetTagName() != r.Tag {
		return nil, fmt.Errorf("publish %s: the server says that it is a draft still, or of another tag (%q)", r.Tag, published.GetTagName())
	}
	return published, nil
}

func (r *Release) fields(draft bool) *release {
	f := &release{TagName: &r.Tag, Name: &r.Title, Body: gh.String(r.notes()), Draft: &draft, Prerelease: &r.Prerelease}
	if r.Commit != "" {
		f.TargetCommitish = &r.Commit
	}
	return f
}

func (p *Publisher) assets(ctx context.Context, of *release) ([]asset, error) {
	var list []asset
	err := pages(func(page int) (*gh.Response, error) {
		var some []asset
		response, err := p.ask(ctx, http.MethodGet, fmt.Sprintf("/releases/%d/assets?per_page=100&page=%d", of.GetID(), page), nil, &some)
		list = append(list, some...)
		return response, err
	})
	if err != nil {
		return nil, fmt.Errorf("assets of %s: %w", of.GetTagName(), authorize(err))
	}
	return list, nil
}

// delete removes an asset. One that is gone already is fine: an answer may have been lost.
func (p *Publisher) delete(ctx context.Context, a asset) error {
	_, err := p.ask(ctx, http.MethodDelete, fmt.Sprintf("/releases/assets/%d", a.ID), nil, nil)
	if err != nil && status(err) != http.StatusNotFound {
		return fmt.Errorf("delete %s: %w", a.Name, authorize(err))
	}
	return nil
}

// same tells whether an asset is a file, by the digest that the server has of it, or by reading it back.
func (p *Publisher) same(ctx context.Context, a asset, f manifest.File) (bool, error) {
	if a.State != uploaded || size.Bytes(a.Size) != f.Size {
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

func (p *Publisher) download(ctx context.Context, a asset, to io.Writer) (*gh.Response, error) {
	request, err := p.downloadRequest(a)
	if err != nil {
		return nil, err
	}
	return p.Client.API().Do(ctx, request, to)
}

// downloadRequest asks for the content of an asset, as which it is answered or redirected to.
func (p *Publisher) downloadRequest(a asset) (*http.Request, error) {
	request, err := p.Client.API().NewRequest(http.MethodGet, fmt.Sprintf("repos/%s/releases/assets/%d", p.Repository, a.ID), nil)
	if err == nil {
		request.Header.Set("Accept", "application/octet-stream")
	}
	return request, err
}

// upload sends a file once. It never has more of it in memory than what is on its way.
func (p *Publisher) upload(ctx context.Context, to *release, path string, f manifest.File) (*gh.Response, error) {
	address, err := p.Client.UploadURL(to)
	if err != nil {
		return nil, err
	}
	file, err := open(path, f)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	ctx, cancel := context.WithCancelCause(github.Once(ctx))
	defer cancel(nil)
	bar := p.Progress.Bytes(f.Name, int64(f.Size))
	defer bar.End()
	body := &watched{file: file, limit: p.Stall, seen: bar}
	body.timer = time.AfterFunc(p.Stall, func() { cancel(fmt.Errorf("the server took nothing for %v", p.Stall)) })
	defer body.timer.Stop()
	request, err := p.Client.API().NewUploadRequest(address+"?name="+url.QueryEscape(f.Name), body, int64(f.Size), "application/octet-stream")
	if err != nil {
		return nil, err
	}
	var made asset
	response, err := p.Client.API().Do(ctx, request, &made)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return response, err
}

// watched is the body of an upload that is given up when the server does not take it.
type watched struct {
	file  *os.File
	timer *time.Timer
	limit time.Duration
	seen  io.Writer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.file.Read(p)
	_, _ = w.seen.Write(p[:n]) // what is shown must not stop the work
	if err != nil {
		w.timer.Stop() // the answer has a time limit of its own
	} else {
		w.timer.Reset(w.limit)
	}
	return n, err
}

// Seek and Close make the retrying client send the body as it comes, which it would read into memory otherwise.
func (w *watched) Seek(offset int64, whence int) (int64, error) { return w.file.Seek(offset, whence) }

func (w *watched) Close() error { return nil }
