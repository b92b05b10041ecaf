package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/go-retryablehttp"
)

const (
	// stallTimeout is how long a server may send nothing, before or during a response.
	stallTimeout = time.Minute
	// longestWait limits the pause between two attempts, whatever Retry-After says.
	longestWait = time.Minute
)

// errStalled is the cause of cancelling a stalled transfer.
var errStalled = fmt.Errorf("the server sent nothing for %v", stallTimeout)

// newTransport returns a transport that does not decompress bodies and supports file addresses.
func newTransport() *http.Transport {
	transport := cleanhttp.DefaultPooledTransport()
	transport.DisableCompression = true // lengths, ranges and digests are those of the stored bytes
	transport.ResponseHeaderTimeout = stallTimeout
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	return transport
}

// newClient returns a client that retries after connection errors, status 429 and 5xx, with growing pauses
// or as Retry-After says. It logs retries itself, because the library would log addresses with their secrets.
func newClient(transport *http.Transport, log *slog.Logger, retries int) *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	client.RetryMax = retries
	client.Logger = nil
	client.CheckRetry = func(ctx context.Context, response *http.Response, err error) (bool, error) {
		if errors.Is(err, errRedirect) {
			return false, err // a retry would be redirected again
		}
		return retryablehttp.DefaultRetryPolicy(ctx, response, err)
	}
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	client.Backoff = func(shortest, longest time.Duration, attempt int, response *http.Response) time.Duration {
		return min(retryablehttp.DefaultBackoff(shortest, longest, attempt, response), longestWait)
	}
	client.RequestLogHook = func(_ retryablehttp.Logger, request *http.Request, retry int) {
		if retry > 0 {
			log.Warn("no response or a server error; retrying", "address", Redact(request.URL.String()), "retry", retry)
		}
	}
	return client
}

// NewClient returns an HTTP client with the timeouts and retries of the store's own downloads.
func NewClient(log *slog.Logger) *retryablehttp.Client { return newClient(newTransport(), log, 4) }

// errRedirect is wrapped by errors about redirects.
var errRedirect = errors.New("the server redirects")

// checkRedirect refuses redirects to local files, and from https to http.
func checkRedirect(request *http.Request, via []*http.Request) error {
	if request.URL.Scheme != "http" && request.URL.Scheme != "https" {
		return fmt.Errorf("%w to a %s address", errRedirect, request.URL.Scheme)
	}
	if request.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https" {
		return fmt.Errorf("%w from https to http, on whose way anybody could answer", errRedirect)
	}
	if len(via) >= 10 {
		return fmt.Errorf("%w more than 10 times", errRedirect)
	}
	return nil
}

// get requests an address. Errors do not contain it.
func (s *Store) get(ctx context.Context, client *retryablehttp.Client, address string, header http.Header) (*http.Response, error) {
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, WithoutAddress(err)
	}
	header.Set("User-Agent", "oem-sysext")
	request.Header = header
	response, err := client.Do(request)
	if err != nil {
		return nil, WithoutAddress(err)
	}
	return response, nil
}

func checkAddress(address string) error {
	parsed, err := url.Parse(address)
	if err != nil {
		return errors.New("malformed address")
	}
	switch parsed.Scheme {
	case "http", "https", "file":
		return nil
	}
	return fmt.Errorf("wanted an address that begins with http:, https: or file:, not %q", parsed.Scheme+":")
}

// Redact removes what may be secret from an address: user, password, query.
func Redact(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return "(malformed address)"
	}
	shown := url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path, Opaque: parsed.Opaque}
	if parsed.RawQuery != "" {
		return shown.String() + "?…"
	}
	return shown.String()
}

func redactAll(addresses []string) string {
	shown := make([]string, len(addresses))
	for i, address := range addresses {
		shown[i] = Redact(address)
	}
	return strings.Join(shown, ", ")
}

// WithoutAddress unwraps errors of net/http, which contain the whole address, or that of a redirect.
func WithoutAddress(err error) error {
	var withAddress *url.Error
	for errors.As(err, &withAddress) {
		err = withAddress.Err
	}
	return err
}

// stallReader reads a response body and fails when nothing arrives for stallTimeout. Its errors wrap errCut.
type stallReader struct {
	ctx   context.Context //nolint:containedctx // Read needs the cause of a cancellation
	body  io.Reader
	timer *time.Timer
}

func newStallReader(ctx context.Context, body io.Reader, cancel context.CancelCauseFunc) *stallReader {
	return &stallReader{ctx, body, time.AfterFunc(stallTimeout, func() { cancel(errStalled) })}
}

func (r *stallReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.timer.Reset(stallTimeout)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(r.ctx); cause != nil {
			err = cause
		}
		err = fmt.Errorf("%w: %w", errCut, WithoutAddress(err))
	}
	return n, err
}

func (r *stallReader) stop() { r.timer.Stop() }
