package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

var content = []byte(strings.Repeat("what is in the file\n", 5000)) // 100 000 bytes

// newStore returns a store that does not wait between attempts, and what it logs.
func newStore(t *testing.T) (*Store, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	store := New(t.TempDir(), slog.New(slog.NewTextHandler(log, nil)), nil)
	store.patient.RetryWaitMin, store.hasty.RetryWaitMin = time.Millisecond, time.Millisecond
	store.patient.RetryWaitMax, store.hasty.RetryWaitMax = time.Millisecond, time.Millisecond
	return store, log
}

type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// server answers the n-th request with the n-th handler, the last one for all further ones.
func server(t *testing.T, handlers ...http.HandlerFunc) (address string, requests *atomic.Int32) {
	t.Helper()
	requests = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(requests.Add(1))
		handlers[min(n, len(handlers))-1](w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/file", requests
}

func serve(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// ranges serves ranges as real servers do.
func ranges(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(body)))
	}
}

// cutAt announces all of the body and breaks the connection after n bytes.
func cutAt(body []byte, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// needsRange fails the test if the request does not ask to go on at an offset.
func needsRange(t *testing.T, offset int, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		want := ""
		if offset > 0 {
			want = fmt.Sprintf("bytes=%d-", offset)
		}
		if got := r.Header.Get("Range"); got != want {
			t.Errorf("Range is %q, wanted %q", got, want)
		}
		then(w, r)
	}
}

func wanted(urls ...string) Want {
	return Want{URLs: urls, SHA256: digest.Of(content), Size: size.Bytes(len(content))}
}

// checkStored checks that the file is there and that nothing else is.
func checkStored(t *testing.T, s *Store, path string, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := digest.OfFile(path)
	if err != nil || got != digest.Of(content) {
		t.Fatalf("stored file has %v, %v", got, err)
	}
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("half files are left: %v", left)
	}
}

func leftovers(t *testing.T, s *Store) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(s.dir, "partial", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// checkRefused checks that nothing was stored and what the error says.
func checkRefused(t *testing.T, s *Store, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error lacks %q:\n%v", text, err)
		}
	}
	if stored, _ := filepath.Glob(filepath.Join(s.dir, "sha256", "*")); len(stored) > 0 {
		t.Errorf("stored %v", stored)
	}
}

func TestFile(t *testing.T) {
	for _, test := range []struct {
		name     string
		handlers []http.HandlerFunc
		requests int32
	}{
		{"at once", []http.HandlerFunc{serve(content)}, 1},
		{"500 then ok", []http.HandlerFunc{status(500), serve(content)}, 2},
		{"429 then ok", []http.HandlerFunc{status(429), serve(content)}, 2},
		{"cut, goes on where it was", []http.HandlerFunc{cutAt(content, 40_000), needsRange(t, 40_000, ranges(content))}, 2},
		{"cut, server without ranges", []http.HandlerFunc{cutAt(content, 40_000), serve(content)}, 2},
		{"first half of another file", []http.HandlerFunc{cutAt([]byte(strings.ToUpper(string(content))), 40_000), ranges(content)}, 3},
		{"range refused", []http.HandlerFunc{cutAt(content, 40_000), status(416), serve(content)}, 3},
		{"wrong range", []http.HandlerFunc{cutAt(content, 40_000), wrongRange, serve(content)}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := newStore(t)
			address, requests := server(t, test.handlers...)
			path, err := s.File(t.Context(), wanted(address))
			checkStored(t, s, path, err)
			if requests.Load() != test.requests {
				t.Errorf("%d requests, wanted %d", requests.Load(), test.requests)
			}
		})
	}
}

// wrongRange answers with other bytes than those asked for.
func wrongRange(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Range", "bytes 0-9/100000")
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(content[:10])
}

func TestFileRefuses(t *testing.T) {
	altered := append([]byte("W"), content[1:]...)
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    Want
		says    []string
	}{
		{"altered byte", serve(altered), wanted(), []string{digest.Of(altered).String(), digest.Of(content).String(), "pin its new digest"}},
		{"404", status(404), wanted(), []string{"404 Not Found", "/file"}},
		{"403", status(403), wanted(), []string{"403 Forbidden"}},
		{"500 for ever", status(500), wanted(), []string{"500 Internal Server Error"}},
		{"shorter than wanted", serve(content[:10]), wanted(), []string{"has 10 bytes, wanted 100000"}},
		{"longer than wanted", announce(100_001), wanted(), []string{"has 100001 bytes, wanted 100000"}},
		{"longer, not announced", unannounced([]byte(string(content) + "!")), wanted(), []string{"more than the 100000 bytes wanted"}},
		{"cut each time", cutAt(content, 10), wanted(), []string{"after 10 bytes: the transfer was interrupted"}},
		{"over the limit", announce(int64(MaxUnknown) + 1), Want{SHA256: digest.Of(content)}, []string{"more than 4.0 GiB"}},
		{"no digest", serve(content), Want{}, []string{"no sha256 digest is given", "/file"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := newStore(t)
			address, _ := server(t, test.handler)
			test.want.URLs = []string{address}
			_, err := s.File(t.Context(), test.want)
			checkRefused(t, s, err, test.says...)
			if errors.Is(err, ErrNotFound) != (test.name == "404") {
				t.Errorf("wraps ErrNotFound: %v", errors.Is(err, ErrNotFound))
			}
		})
	}
}

// unannounced sends a body without saying how long it is.
func unannounced(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(body)
	}
}

func announce(length int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
		w.WriteHeader(http.StatusOK)
	}
}

func TestMirrorsInOrder(t *testing.T) {
	s, _ := newStore(t)
	gone, goneRequests := server(t, status(404))
	wrong, _ := server(t, serve([]byte("a captive portal")))
	good, _ := server(t, serve(content))
	path, err := s.File(t.Context(), wanted(gone, wrong, good))
	checkStored(t, s, path, err)
	if goneRequests.Load() != 1 {
		t.Errorf("a missing file was asked for %d times", goneRequests.Load())
	}
}

func TestStoredFileIsCheckedEachTime(t *testing.T) {
	s, log := newStore(t)
	address, requests := server(t, serve(content))
	path, err := s.File(t.Context(), wanted(address))
	checkStored(t, s, path, err)
	if _, err := s.File(t.Context(), wanted()); err != nil {
		t.Fatalf("a stored file needs no address: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("bit rot"), 0o644); err != nil {
		t.Fatal(err)
	}
	path, err = s.File(t.Context(), wanted(address))
	checkStored(t, s, path, err)
	if requests.Load() != 2 || !strings.Contains(log.String(), "damaged") {
		t.Errorf("%d requests, log: %s", requests.Load(), log)
	}
}

func TestHalfFileOfAKilledRun(t *testing.T) {
	for name, half := range map[string]string{"good": string(content[:30_000]), "bad": "garbage", "whole but wrong": strings.Repeat("x", len(content))} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t)
			dir, err := s.makeDir("partial")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, digest.Of(content).String()), []byte(half), 0o600); err != nil {
				t.Fatal(err)
			}
			address, _ := server(t, ranges(content))
			path, err := s.File(t.Context(), wanted(address))
			checkStored(t, s, path, err)
		})
	}
}

func TestOldHalfFilesAreRemoved(t *testing.T) {
	s, _ := newStore(t)
	dir, err := s.makeDir("partial")
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * partialKept)
	for _, name := range []string{"abandoned", "inuse", "fresh"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); name != "fresh" && err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, "fresh"), time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	inUse, err := tryPartial(filepath.Join(dir, "inuse"), 0)
	if inUse == nil {
		t.Fatal(err)
	}
	defer inUse.release()
	address, _ := server(t, serve(content))
	if _, err := s.File(t.Context(), wanted(address)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range leftovers(t, s) {
		names = append(names, filepath.Base(path))
	}
	if got := strings.Join(names, " "); got != "fresh inuse" {
		t.Errorf("left are %s; wanted those in use or fresh", got)
	}
}

func TestSeveralAtATimeDownloadOnce(t *testing.T) {
	s, _ := newStore(t)
	other := New(s.dir, slog.New(slog.DiscardHandler), nil) // as another process would
	address, requests := server(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(100 * time.Millisecond)
		serve(content)(w, r)
	})
	var group errgroup.Group
	for i := range 8 {
		group.Go(func() error {
			_, err := []*Store{s, other}[i%2].File(t.Context(), wanted(address))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if requests.Load() != 1 {
		t.Errorf("%d downloads", requests.Load())
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	s, log := newStore(t)
	address, _ := server(t, status(500), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/signed?token=hunter2", http.StatusFound)
	}, status(500))
	address = strings.Replace(address, "http://", "http://user:hunter2@", 1) + "?key=hunter2"
	_, fileErr := s.File(t.Context(), wanted(address, "ftp://user:hunter2@example.org/x", "http://hunter2\x7f"))
	_, latestErr := s.Latest(t.Context(), address)
	if fileErr == nil || latestErr == nil {
		t.Fatal("no error")
	}
	for _, text := range []string{fileErr.Error(), latestErr.Error(), log.String()} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "/file") {
			t.Errorf("shows the secret, or not the address: %s", text)
		}
	}
}

func TestCancelEndsTheDownload(t *testing.T) {
	s, _ := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	address, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(content[:10])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	if _, err := s.File(ctx, wanted(address)); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestFileAddress(t *testing.T) {
	s, _ := newStore(t)
	source := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := s.File(t.Context(), wanted("file://"+source))
	checkStored(t, s, path, err)
	redirect, requests := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file://"+source, http.StatusFound)
	})
	if _, err := s.Latest(t.Context(), redirect); err == nil || !strings.Contains(err.Error(), "redirects to a file address") || requests.Load() != 1 {
		t.Errorf("a server may not send us to a local file: %v, asked %d times", err, requests.Load())
	}
}

// counter is a Progress that counts.
type counter struct {
	shown  []string
	total  size.Bytes
	bytes  int
	closed int
}

func (c *counter) Start(name string, total size.Bytes) io.WriteCloser {
	c.shown, c.total, c.bytes = append(c.shown, name), total, 0
	return c
}

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += len(p)
	return len(p), nil
}

func (c *counter) Close() error {
	c.closed++
	return nil
}

func TestProgressCountsEachByteOnce(t *testing.T) {
	s, _ := newStore(t)
	seen := &counter{}
	s.progress = seen
	address, _ := server(t, cutAt(content, 40_000), ranges(content))
	path, err := s.File(t.Context(), wanted(address))
	checkStored(t, s, path, err)
	if seen.bytes != len(content) || seen.total != size.Bytes(len(content)) || seen.closed != 2 || seen.shown[0] != "file" {
		t.Errorf("progress saw %+v", seen)
	}
}

func TestRedirectToPlainHTTP(t *testing.T) {
	from, to := httptest.NewRequest(http.MethodGet, "https://example.org/a", nil), httptest.NewRequest(http.MethodGet, "http://example.org/a", nil)
	if err := checkRedirect(to, []*http.Request{from}); err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("error is %v", err)
	}
	if err := checkRedirect(from, []*http.Request{to}); err != nil {
		t.Error(err)
	}
}
