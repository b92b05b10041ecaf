package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
)

// server is a remote cache behind an HTTP address: GET, HEAD and PUT of ADDRESS/ac/DIGEST and ADDRESS/cas/DIGEST.
// bazel-remote, nginx with WebDAV and gateways to object stores support that.
type server struct {
	address string // without a slash at the end
	client  *retryablehttp.Client
}

// stall is how long a transfer may make no progress. A slower cache costs more than it saves.
const stall = time.Minute

func openHTTP(address string, trusted bool) (Remote, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.RawQuery != "" || parsed.Fragment != "" {
		return nil, errors.New("wanted an address such as https://cache.example.org/oem, without a query")
	}
	if parsed.Scheme == "http" && !trusted && !isLocal(parsed.Hostname()) {
		return nil, fmt.Errorf("plain http to %s, on whose way anybody could write results; use https, or %shttp:// where the network is trusted", parsed.Hostname(), insecure)
	}
	client := fetch.NewClient(slog.New(slog.DiscardHandler)) // the caller logs the first failure
	client.RetryMax = 1
	return &server{strings.TrimSuffix(address, "/"), client}, nil
}

// isLocal tells whether a host is this machine.
func isLocal(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// ask sends a request; content is the body, or nil. The caller closes the answer, whose status is 200, 201 or 204.
func (s *server) ask(ctx context.Context, method string, kind Kind, key digest.SHA256, content *io.SectionReader) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	moving := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no data for %v", stall)) })
	end := func() { moving.Stop(); cancel(nil) }
	address := fmt.Sprintf("%s/%s/%v", s.address, kind, key)
	request, err := retryablehttp.NewRequestWithContext(ctx, method, address, nil)
	if err == nil && content != nil {
		err = request.SetBody(retryablehttp.ReaderFunc(func() (io.Reader, error) {
			return watched{io.NewSectionReader(content, 0, content.Size()), moving}, nil
		}))
		request.ContentLength = content.Size()
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	if err != nil {
		end()
		return nil, fetch.WithoutAddress(err)
	}
	response, err := s.client.Do(request) //nolint:bodyclose // the caller closes the answer
	if err != nil {
		err = fmt.Errorf("%s %s: %w", method, fetch.Redact(address), errors.Join(fetch.WithoutAddress(err), context.Cause(ctx)))
		end()
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return &answer{watched{response.Body, moving}, func() error { defer end(); return response.Body.Close() }}, nil
	}
	response.Body.Close()
	end()
	err = fmt.Errorf("%s %s: the server answers %s", method, fetch.Redact(address), response.Status)
	if response.StatusCode == http.StatusNotFound {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return nil, err
}

// watched is a body that resets the stall timer.
type watched struct {
	io.Reader
	moving *time.Timer
}

func (w watched) Read(p []byte) (int, error) {
	w.moving.Reset(stall)
	return w.Reader.Read(p)
}

// answer is a response body.
type answer struct {
	watched
	end func() error
}

func (a *answer) Close() error { return a.end() }

func (s *server) Get(ctx context.Context, kind Kind, key digest.SHA256) (io.ReadCloser, error) {
	return s.ask(ctx, http.MethodGet, kind, key, nil)
}

func (s *server) Has(ctx context.Context, kind Kind, key digest.SHA256) (bool, error) {
	answer, err := s.ask(ctx, http.MethodHead, kind, key, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, answer.Close()
}

func (s *server) Put(ctx context.Context, kind Kind, key digest.SHA256, content *os.File, length int64) error {
	answer, err := s.ask(ctx, http.MethodPut, kind, key, io.NewSectionReader(content, 0, length))
	if err != nil {
		return err
	}
	return answer.Close()
}
