package nebraska

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/go-retryablehttp"
)

// maxAnswer is the longest answer that is read: a page of packages with all their files has some 100 KB.
const maxAnswer = 16 << 20

// Server is a Nebraska server.
type Server struct {
	base   string // without a slash at its end
	token  string
	client *retryablehttp.Client
}

// NewServer returns the server at an address. The token, where there is one, is sent to it alone, and never in the clear
// but to this machine. The client decides what is asked again, and how often.
func NewServer(address, token string, client *retryablehttp.Client) (*Server, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.User != nil {
		return nil, errors.New("NEBRASKA_URL: wanted an http or https address, without user and password; a token goes to NEBRASKA_TOKEN")
	}
	if token != "" && parsed.Scheme == "http" && !isLocal(parsed.Hostname()) {
		return nil, errors.New("NEBRASKA_URL: a token would be sent in the clear; wanted an https address")
	}
	return &Server{base: strings.TrimSuffix(parsed.String(), "/"), token: token, client: client}, nil
}

func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// statusError is an answer that is not 200.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the server answers %d %s: %s", e.status, http.StatusText(e.status), e.text))
}

// ask sends a request and reads the answer. An error's text has no token.
func (s *Server) ask(ctx context.Context, method, path string, body, answer any) error {
	err := s.exchange(ctx, method, path, body, answer)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func (s *Server) exchange(ctx context.Context, method, path string, body, answer any) error {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return err
		}
	}
	request, err := retryablehttp.NewRequestWithContext(ctx, method, s.base+path, encoded)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "oem-sysext")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return s.secret(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case len(content) > maxAnswer:
		return fmt.Errorf("the answer is longer than %d B", maxAnswer)
	case response.StatusCode != http.StatusOK:
		text := strings.ToValidUTF8(string(content[:min(len(content), 300)]), "?")
		return s.secret(&statusError{response.StatusCode, text})
	}
	if err := json.Unmarshal(content, answer); err != nil {
		return fmt.Errorf("the answer is not what Nebraska gives: %w", err)
	}
	return nil
}

// secret takes the token out of an error that quotes the server.
func (s *Server) secret(err error) error {
	if s.token == "" || !strings.Contains(err.Error(), s.token) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), s.token, "…"))
}

// maxPages bounds what a server can make us read.
const maxPages = 1000

// list reads all pages of a list. Key is the list's name in an answer, query what is asked for beside the page.
func list[T any](ctx context.Context, s *Server, path, key string, query url.Values) ([]T, error) {
	var all []T
	for number := 1; number <= maxPages; number++ {
		asked := url.Values{"page": {strconv.Itoa(number)}, "perpage": {"50"}}
		maps.Copy(asked, query)
		var answer map[string]json.RawMessage
		if err := s.ask(ctx, http.MethodGet, path+"?"+asked.Encode(), nil, &answer); err != nil {
			return nil, err
		}
		var total int
		var items []T
		if err := errors.Join(json.Unmarshal(answer["totalCount"], &total), json.Unmarshal(answer[key], &items)); err != nil {
			return nil, fmt.Errorf("GET %s: wanted a page with totalCount and %s: %w", path, key, err)
		}
		all = append(all, items...)
		if len(items) == 0 || len(all) >= total {
			return all, nil
		}
	}
	return nil, fmt.Errorf("GET %s: more than %d pages", path, maxPages)
}
