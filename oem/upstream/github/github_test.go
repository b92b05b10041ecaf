package github

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

const token = "ghp_hunter2"

// client returns one that asks a server which answers the n-th request with the n-th handler, and what is logged.
func client(t *testing.T, handlers ...http.HandlerFunc) (*Client, *bytes.Buffer, *atomic.Int32) {
	t.Helper()
	requests := &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(requests.Add(1))
		handlers[min(n, len(handlers))-1](w, r)
	}))
	t.Cleanup(server.Close)
	var log bytes.Buffer
	environment := map[string]string{EnvAPI: server.URL + "/api", EnvServer: server.URL + "/", EnvToken: token}
	c, err := New(func(name string) string { return environment[name] }, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c, &log, requests
}

// release answers with a release that has these assets; their addresses begin with base, or where the request went.
func release(base string, assets ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/repos/owner/tool/releases/tags/v1.0" || r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "unexpected request for "+r.URL.Path, http.StatusTeapot)
			return
		}
		base := cmp.Or(base, "http://"+r.Host)
		var list []string
		for _, name := range assets {
			list = append(list, fmt.Sprintf(`{"name": %q, "size": 7, "browser_download_url": "%s/owner/tool/releases/download/v1.0/%s"}`, name, base, name))
		}
		fmt.Fprintf(w, `{"tag_name": "v1.0", "assets": [%s]}`, strings.Join(list, ","))
	}
}

func header(status int, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, `{"message": "no"}`)
	}
}

func asset(t *testing.T, c *Client) (Asset, error) {
	t.Helper()
	return c.Asset(t.Context(), "owner/tool", "v1.0", "tool_*_amd64.tar.gz")
}

func TestAsset(t *testing.T) {
	good := release("", "tool_1.0_amd64.tar.gz", "tool_1.0_arm64.tar.gz", "tool_1.0_amd64.tar.gz.sig")
	want := Asset{"tool_1.0_amd64.tar.gz", "owner/tool/releases/download/v1.0/tool_1.0_amd64.tar.gz", 7}
	soon := fmt.Sprint(time.Now().Add(time.Second).Unix())
	for name, handlers := range map[string][]http.HandlerFunc{
		"at once":                        {good},
		"after a server error":           {header(502), good},
		"after a limit that ends soon":   {header(403, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", soon, "X-RateLimit-Limit", "60"), good},
		"after being asked to slow down": {header(403, "Retry-After", "1"), good},
		"after a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/api/repos/owner/tool/releases/tags/v1.0", http.StatusMovedPermanently)
		}, good},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, log, _ := client(t, handlers...)
			got, err := asset(t, c)
			if err != nil || got != want {
				t.Errorf("got %v, %v", got, err)
			}
			if strings.Contains(log.String(), token) {
				t.Errorf("the log has the token: %s", log)
			}
		})
	}
}

func TestAssetRefuses(t *testing.T) {
	later := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"no release":        {header(404), "release v1.0 of owner/tool: HTTP status 404"},
		"forbidden":         {header(403), "HTTP status 403"},
		"bad token":         {header(401), "HTTP status 401"},
		"limit":             {header(403, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", later, "X-RateLimit-Limit", "60"), "limit of 60 requests an hour is used up until"},
		"far too fast":      {header(403, "Retry-After", "3600"), "HTTP status 403"},
		"nothing matches":   {release("", "other.zip", "tool.txt"), `has 0 assets that match "tool_*_amd64.tar.gz"; wanted exactly one of: other.zip, tool.txt`},
		"several match":     {release("", "tool_1_amd64.tar.gz", "tool_2_amd64.tar.gz"), "has 2 assets"},
		"elsewhere":         {release("https://elsewhere.example.org", "tool_1_amd64.tar.gz"), "is not at an address below"},
		"a file":            {release("file://", "tool_1_amd64.tar.gz"), "is not at an address below"},
		"not what it says":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "invalid character"},
		"address with more": {release("", "tool_1?x=_amd64.tar.gz"), "is not at an address below"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, log, requests := client(t, test.handler)
			_, err := asset(t, c)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v", err)
			}
			if strings.Contains(fmt.Sprint(err, log), token) {
				t.Errorf("the token shows in %v or %s", err, log)
			}
			if requests.Load() != 1 {
				t.Errorf("asked %d times", requests.Load())
			}
		})
	}
}

func TestTokenStaysWithItsHost(t *testing.T) {
	var seen atomic.Value
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	c, _, _ := client(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	})
	_, _ = asset(t, c)
	if seen.Load() != "" {
		t.Errorf("the other host was told %q", seen.Load())
	}
}

func TestTags(t *testing.T) {
	c, _, _ := client(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"tag_name": "v3", "draft": true}, {"tag_name": "v2", "prerelease": true}, {"tag_name": "v1"}, {"tag_name": "v0"}]`)
	})
	tags, err := c.Tags(t.Context(), "owner/tool")
	if diff := gocmp.Diff([]string{"v1", "v0"}, tags); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, address := range []string{"api", "https://user:" + token + "@example.org", ":"} {
		_, err := New(func(string) string { return address }, slog.New(slog.DiscardHandler))
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%s: error is %v", address, err)
		}
	}
}

// TestExplainRedacts says that the secret goes from an address, and the sentence around it stays.
func TestExplainRedacts(t *testing.T) {
	for text, want := range map[string]string{
		`Get "https://user:hunter2@api.example.org/repos?token=hunter2": dial tcp: no route`: `Get "https://api.example.org/repos?…": dial tcp: no route`,
		"see https://example.org/a, then (https://user:hunter2@example.org/b).":              "see https://example.org/a, then (https://example.org/b).",
		`Get "https://user:hunt\"er2@example.org/": EOF`:                                     `Get "(malformed address)": EOF`,
		"no address: nothing changes":                                                        "no address: nothing changes",
	} {
		if got := Explain(errors.New(text)).Error(); got != want {
			t.Errorf("%s is explained as %s; want %s", text, got, want)
		}
	}
}
