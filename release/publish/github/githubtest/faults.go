package githubtest

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// Faults makes requests fail at random, the same ones for the same seed as long as requests come one after the other.
type Faults struct {
	Share float64 // of requests that fail
	Stall time.Duration

	mu     sync.Mutex
	random *rand.Rand
	Count  map[string]int // by kind
}

// NewFaults returns faults of a seed.
func NewFaults(seed uint64, share float64, stall time.Duration) *Faults {
	return &Faults{Share: share, Stall: stall, random: rand.New(rand.NewPCG(seed, seed)), Count: map[string]int{}} //nolint:gosec // wanted to be predictable
}

// draw chooses a fault, or none, and how much of a body passes before it.
func (f *Faults) draw(r *http.Request) (kind string, passes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.random.Float64() >= f.Share {
		return "", 0
	}
	kinds := []string{"502", "502 after", "cut", "cut after", "limit", "secondary limit", "timeout"}
	if r.ContentLength > 0 && strings.HasPrefix(r.URL.Path, "/api/uploads/") {
		kinds = append(kinds, "cut within", "cut within", "cut within")
		passes = f.random.Int64N(r.ContentLength)
	}
	kind = kinds[f.random.IntN(len(kinds))]
	f.Count[kind]++
	return kind, passes
}

// serve answers a request, well or not.
func (f *Faults) serve(w http.ResponseWriter, r *http.Request, handle http.HandlerFunc) {
	kind, passes := f.draw(r)
	switch kind {
	case "":
		handle(w, r)
	case "502":
		http.Error(w, "<html>Bad Gateway", http.StatusBadGateway)
	case "502 after":
		handle(httptest.NewRecorder(), r)
		http.Error(w, "<html>Bad Gateway", http.StatusBadGateway)
	case "cut":
		hangUp(w)
	case "cut after":
		handle(httptest.NewRecorder(), r)
		hangUp(w)
	case "cut within":
		r.Body = io.NopCloser(io.LimitReader(r.Body, passes))
		handle(httptest.NewRecorder(), r)
		hangUp(w)
	case "limit":
		w.Header().Set("X-RateLimit-Limit", "5000")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", "1700000000")
		answer(w, "API rate limit exceeded")
	case "secondary limit":
		w.Header().Set("Retry-After", "0")
		answer(w, "You have exceeded a secondary rate limit")
	case "timeout":
		time.Sleep(f.Stall)
		hangUp(w)
	}
}

func answer(w http.ResponseWriter, message string) {
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, `{"message": "`+message+`", "documentation_url": "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`)
}

// hangUp ends the connection without an answer, in a way that the client sees at once.
func hangUp(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, isTCP := connection.(*net.TCPConn); isTCP {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}
