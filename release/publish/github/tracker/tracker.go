// Package tracker keeps one issue on GitHub for what goes wrong again and again, and one pull request for what is proposed again
// and again, so that nobody gets a new one each night.
//
// In: a title, by which an issue is known, or a branch, by which a pull request is known, and its text. Out: an open issue or pull
// request with that text, made or changed; or, where all is well, none that is open. What people wrote below stays as it is.
package tracker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	gh "github.com/google/go-github/v57/github"

	"github.com/flatcar/oem-sysext/oem/upstream/github"
)

// Tracker works on one repository.
type Tracker struct {
	Client     *github.Client
	Repository string // OWNER/NAME
}

// maxBody is how many characters GitHub takes.
const maxBody = 65_536

// attempts is how often something is tried that may have been done though no answer came.
const attempts = 4

// item is an issue or a pull request. GitHub lists the latter among the former.
type item struct {
	Number      int       `json:"number"`
	Title       string    `json:"title"`
	Body        string    `json:"body"`
	Address     string    `json:"html_url"`
	PullRequest *struct{} `json:"pull_request"`
}

// Report sees to it that the issue of a title is open and has the text. It returns its address.
func (t *Tracker) Report(ctx context.Context, title, body string) (address string, err error) {
	open, err := t.issues(ctx, title)
	if err != nil {
		return "", err
	}
	fields := map[string]any{"title": title, "body": fitting(body)}
	if len(open) > 0 {
		return t.change(ctx, "/issues", open[0], fields)
	}
	made, err := t.create(ctx, "/issues", fields, func() ([]item, error) { return t.issues(ctx, title) })
	return made.Address, err
}

// Resolve closes the issues of a title, and returns how many that were.
func (t *Tracker) Resolve(ctx context.Context, title string) (int, error) {
	open, err := t.issues(ctx, title)
	for _, i := range open {
		if err == nil {
			_, err = t.ask(ctx, http.MethodPatch, fmt.Sprintf("/issues/%d", i.Number), map[string]string{"state": "closed"}, nil)
		}
	}
	return len(open), err
}

// issues returns the open ones of a title, the oldest first.
func (t *Tracker) issues(ctx context.Context, title string) ([]item, error) {
	found, err := t.list(ctx, "/issues?state=open")
	found = slices.DeleteFunc(found, func(i item) bool { return i.PullRequest != nil || i.Title != title })
	return found, err
}

// Propose sees to it that there is an open pull request from a branch of the repository to another one. It returns its address.
func (t *Tracker) Propose(ctx context.Context, from, to, title, body string) (address string, err error) {
	owner, _, _ := strings.Cut(t.Repository, "/")
	open := func() ([]item, error) {
		return t.list(ctx, "/pulls?state=open&head="+url.QueryEscape(owner+":"+from)+"&base="+url.QueryEscape(to))
	}
	there, err := open()
	if err != nil {
		return "", err
	}
	if len(there) > 0 {
		return t.change(ctx, "/pulls", there[0], map[string]any{"title": title, "body": fitting(body)})
	}
	made, err := t.create(ctx, "/pulls", map[string]any{"title": title, "body": fitting(body), "head": from, "base": to}, open)
	return made.Address, err
}

// change gives an item other fields, unless it has them.
func (t *Tracker) change(ctx context.Context, path string, i item, fields map[string]any) (string, error) {
	if i.Title == fields["title"] && i.Body == fields["body"] {
		return i.Address, nil
	}
	_, err := t.ask(ctx, http.MethodPatch, fmt.Sprintf("%s/%d", path, i.Number), fields, nil)
	return i.Address, err
}

// create makes an item. When the answer is lost it looks whether there is one now: made twice, there would be two.
func (t *Tracker) create(ctx context.Context, path string, fields map[string]any, open func() ([]item, error)) (item, error) {
	for attempt := 0; ; attempt++ {
		var made item
		response, err := t.ask(github.Once(ctx), http.MethodPost, path, fields, &made)
		var final refusal
		if err == nil || ctx.Err() != nil || attempt == attempts-1 || errors.As(err, &final) {
			return made, err
		}
		if waitErr := t.Client.Pause(ctx, attempt, response); waitErr != nil {
			return made, errors.Join(err, waitErr)
		}
		if there, err := open(); err != nil || len(there) > 0 {
			return append(there, item{})[0], err
		}
	}
}

// refusal is an error that asking again does not change.
type refusal struct{ error }

// isFinal tells whether an answer is a refusal. Limits pass.
func isFinal(err error) bool {
	var answer *gh.ErrorResponse
	return errors.As(err, &answer) && answer.Response != nil && answer.Response.StatusCode < 500 && answer.Response.Header.Get("Retry-After") == ""
}

// maxPages bounds what a server can make us read.
const maxPages = 100

func (t *Tracker) list(ctx context.Context, path string) ([]item, error) {
	var all []item
	for page := 1; page <= maxPages; {
		var some []item
		response, err := t.ask(ctx, http.MethodGet, fmt.Sprintf("%s&per_page=100&page=%d", path, page), nil, &some)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if response.NextPage <= page {
			slices.SortFunc(all, func(a, b item) int { return cmp.Compare(a.Number, b.Number) })
			return all, nil
		}
		page = response.NextPage
	}
	return nil, fmt.Errorf("%s has more than %d pages", path, maxPages)
}

func (t *Tracker) ask(ctx context.Context, method, path string, body, answer any) (*gh.Response, error) {
	request, err := t.Client.API().NewRequest(method, "repos/"+t.Repository+path, body)
	if err != nil {
		return nil, err
	}
	response, err := t.Client.API().Do(ctx, request, answer)
	if err != nil {
		path, _, _ = strings.Cut(path, "?")
		explained := fmt.Errorf("%s %s of %s: %w", method, path, t.Repository, github.Explain(err))
		if isFinal(err) {
			explained = refusal{explained}
		}
		return response, explained
	}
	return response, nil
}

// fitting returns what GitHub takes of a text, whole lines.
func fitting(body string) string {
	const rest = "\n\n(The rest is left out.)\n"
	runes := []rune(body)
	if len(runes) <= maxBody {
		return body
	}
	cut := string(runes[:maxBody-len(rest)])
	if end := strings.LastIndexByte(cut, '\n'); end >= 0 {
		cut = cut[:end]
	}
	return cut + rest
}
