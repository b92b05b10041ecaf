// Package github finds releases and assets on GitHub or a compatible server, and provides the API client for changes.
//
// Rate limits are 60 requests an hour, or 5000 with a token (GITHUB_TOKEN). If a limit ends within a minute, the client waits;
// otherwise the error says when it ends. The token is sent to the API's host and its upload host only, not to
// redirect targets. Errors contain no request headers.
package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	gh "github.com/google/go-github/v57/github"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Environment variables, as GitHub's own runners set them.
const (
	EnvToken  = "GITHUB_TOKEN"      //nolint:gosec // a variable's name
	EnvAPI    = "GITHUB_API_URL"    // default https://api.github.com
	EnvServer = "GITHUB_SERVER_URL" // default https://github.com, for downloads of assets
)

// longestWait is the longest wait for a rate limit to end.
const longestWait = time.Minute

// Client is a client for one server.
type Client struct {
	Server string // prefix of asset addresses, without trailing slash
	api    *gh.Client
	retry  *retryablehttp.Client
}

// New returns a client for the server configured in the environment. It sends no request.
func New(getenv func(string) string, log *slog.Logger) (*Client, error) {
	return NewFrom(getenv, fetch.NewClient(log))
}

// NewFrom is New with a client that decides about retries.
func NewFrom(getenv func(string) string, client *retryablehttp.Client) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(cmp.Or(getenv(EnvAPI), "https://api.github.com"), "/") + "/")
	if err != nil || base.Host == "" || base.User != nil {
		return nil, fmt.Errorf("%s is not an address; wanted one such as https://api.github.com, without user and password", EnvAPI)
	}
	client.CheckRetry, client.Backoff = checkRetry, backoff
	client.HTTPClient.Transport = &authorized{client.HTTPClient.Transport, base.Scheme, base.Host, getenv(EnvToken)}
	api := gh.NewClient(client.StandardClient())
	api.BaseURL, api.UserAgent = base, "oem-sysext"
	return &Client{Server: strings.TrimSuffix(cmp.Or(getenv(EnvServer), "https://github.com"), "/"), api: api, retry: client}, nil
}

// API returns the underlying client, with the same token, limits and retries.
func (c *Client) API() *gh.Client { return c.api }

// UploadURL returns the upload address of a release, if the token may be sent there.
func (c *Client) UploadURL(release *gh.RepositoryRelease) (string, error) {
	address, _, _ := strings.Cut(release.GetUploadURL(), "{") // an RFC 6570 template
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme != c.api.BaseURL.Scheme || !takes(c.api.BaseURL.Host, parsed.Host) {
		return "", fmt.Errorf("the release's upload address is %q; wanted one of the host %s", fetch.Redact(address), c.api.BaseURL.Host)
	}
	return address, nil
}

// takes tells whether a host belongs to an API, such as uploads.github.com to api.github.com.
func takes(api, host string) bool {
	domain, apart := strings.CutPrefix(api, "api.")
	return host == api || apart && host == "uploads."+domain
}

type onceKey struct{}

// Once marks requests that are not idempotent, and so must not be retried automatically.
func Once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

// Pause waits before a retry: as long as the last response asks for, unless that is too long, else longer with each attempt,
// counted from 0.
func (c *Client) Pause(ctx context.Context, attempt int, last *gh.Response) error {
	var answer *http.Response
	if last != nil {
		answer = last.Response
	}
	if wait, limited := limit(answer); limited && wait > longestWait {
		return fmt.Errorf("the server asks to wait %v", wait.Round(time.Second))
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(c.retry.Backoff(c.retry.RetryWaitMin, c.retry.RetryWaitMax, attempt, answer)):
		return nil
	}
}

// authorized adds the token to requests to the API's hosts.
type authorized struct {
	next         http.RoundTripper
	scheme, host string
	token        string
}

func (a *authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	if a.token != "" && request.URL.Scheme == a.scheme && takes(a.host, request.URL.Host) {
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	return a.next.RoundTrip(request)
}

// checkRetry also retries after a rate limit that ends soon.
func checkRetry(ctx context.Context, response *http.Response, err error) (bool, error) {
	if ctx.Value(onceKey{}) != nil {
		return false, ctx.Err()
	}
	if wait, limited := limit(response); limited {
		return wait <= longestWait, ctx.Err()
	}
	return retryablehttp.DefaultRetryPolicy(ctx, response, err)
}

func backoff(shortest, longest time.Duration, attempt int, response *http.Response) time.Duration {
	if wait, limited := limit(response); limited {
		return max(wait, shortest)
	}
	return retryablehttp.DefaultBackoff(shortest, longest, attempt, response)
}

// limit returns how long a response asks to wait, if it reports a rate limit
// (https://docs.github.com/rest, "Rate limits for the REST API").
func limit(response *http.Response) (time.Duration, bool) {
	if response == nil || response.StatusCode != http.StatusForbidden && response.StatusCode != http.StatusTooManyRequests {
		return 0, false
	}
	if seconds, err := strconv.ParseInt(response.Header.Get("Retry-After"), 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if response.Header.Get("X-RateLimit-Remaining") != "0" {
		return 0, false
	}
	reset, err := strconv.ParseInt(response.Header.Get("X-RateLimit-Reset"), 10, 64)
	return time.Until(time.Unix(reset, 0)), err == nil
}

// Asset is one file of a release.
type Asset struct {
	Name string
	File string // path below Server
	Size size.Bytes
}

// Address returns the address of a file below Server.
func (c *Client) Address(file string) string { return c.Server + "/" + file }

// Asset finds the one asset of a release whose name matches a pattern (path.Match).
func (c *Client) Asset(ctx context.Context, repository, tag, pattern string) (Asset, error) {
	owner, repo, _ := strings.Cut(repository, "/")
	release, _, err := c.api.Repositories.GetReleaseByTag(ctx, owner, repo, tag)
	if err != nil {
		return Asset{}, fmt.Errorf("release %s of %s: %w", tag, repository, Explain(err))
	}
	var names []string
	var found []*gh.ReleaseAsset
	for _, asset := range release.Assets {
		names = append(names, asset.GetName())
		if matches, err := path.Match(pattern, asset.GetName()); err == nil && matches {
			found = append(found, asset)
		}
	}
	if len(found) != 1 {
		return Asset{}, fmt.Errorf("release %s of %s has %d assets that match %q; wanted exactly one of: %s",
			tag, repository, len(found), pattern, strings.Join(names, ", "))
	}
	file, below := strings.CutPrefix(found[0].GetBrowserDownloadURL(), c.Server+"/")
	if !below || path.Clean("/"+file) != "/"+file || strings.ContainsAny(file, "?#") {
		return Asset{}, fmt.Errorf("release %s of %s: the asset %q is not at an address below %s, which %s sets",
			tag, repository, found[0].GetName(), fetch.Redact(c.Server), EnvServer)
	}
	return Asset{found[0].GetName(), file, size.Bytes(found[0].GetSize())}, nil
}

// Tags returns the tags of a repository's newest releases, 100 at most; without drafts and prereleases.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	owner, repo, _ := strings.Cut(repository, "/")
	releases, _, err := c.api.Repositories.ListReleases(ctx, owner, repo, &gh.ListOptions{PerPage: 100})
	if err != nil {
		return nil, fmt.Errorf("releases of %s: %w", repository, Explain(err))
	}
	var tags []string
	for _, release := range releases {
		if !release.GetDraft() && !release.GetPrerelease() {
			tags = append(tags, release.GetTagName())
		}
	}
	return tags, nil
}

// details joins the message of an error response with its details.
func details(answer *gh.ErrorResponse) string {
	parts := []string{answer.Message}
	for _, e := range answer.Errors {
		parts = append(parts, strings.Join(strings.Fields(e.Resource+" "+e.Field+" "+e.Code+" "+e.Message), " "))
	}
	return strings.Join(parts, "; ")
}

// address matches addresses in error texts. A quote ends one, unless it is escaped, as in what %q prints.
var address = regexp.MustCompile(`https?://(?:\\.|[^\s"\\])+`)

// redact removes secrets from an address, and leaves alone what belongs to the sentence that it is in.
func redact(text string) string {
	bare := strings.TrimRight(text, ".,:;)]")
	return fetch.Redact(bare) + text[len(bare):]
}

// Explain adds a remedy to rate limit errors, and removes addresses, which may have secrets, from others.
func Explain(err error) error {
	var limited *gh.RateLimitError
	var slow *gh.AbuseRateLimitError
	switch {
	case errors.As(err, &limited):
		return fmt.Errorf("the limit of %d requests an hour is used up until %s; wait, or set %s to raise it",
			limited.Rate.Limit, limited.Rate.Reset.UTC().Format(time.DateTime+" MST"), EnvToken)
	case errors.As(err, &slow):
		return fmt.Errorf("secondary rate limit; wait %v", slow.GetRetryAfter())
	}
	var answer *gh.ErrorResponse
	if errors.As(err, &answer) && answer.Response != nil {
		if answer.Response.StatusCode == http.StatusNotFound {
			return fmt.Errorf("HTTP status %s: %w", answer.Response.Status, fetch.ErrNotFound)
		}
		return fmt.Errorf("HTTP status %s: %.200q", answer.Response.Status, details(answer))
	}
	return errors.New(address.ReplaceAllStringFunc(err.Error(), redact))
}
