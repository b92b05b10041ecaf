package fetch

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// latest gets a document that must be had.
func latest(t *testing.T, s *Store, address string) *Document {
	t.Helper()
	doc, err := s.Latest(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func keep(t *testing.T, doc *Document) {
	t.Helper()
	if err := doc.Keep(); err != nil {
		t.Fatal(err)
	}
}

// tagged serves a document with validators, and 304 to those who have it.
func tagged(body, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), strings.NewReader(body))
	}
}

func TestLatestAsksOnlyForChanges(t *testing.T) {
	s, _ := newStore(t)
	var statuses []int
	version := tagged("one", `"1"`)
	address, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		recorder := &statusRecorder{ResponseWriter: w, code: http.StatusOK}
		version(recorder, r)
		statuses = append(statuses, recorder.code)
	})
	first := latest(t, s, address)
	if string(first.Content) != "one" || first.Kept != nil || first.Offline {
		t.Errorf("first: %+v", first)
	}
	if again := latest(t, s, address); again.Kept != nil {
		t.Error("kept without Keep")
	}
	keep(t, first)
	if same := latest(t, s, address); string(same.Content) != "one" || string(same.Kept) != "one" || same.Offline {
		t.Errorf("unchanged: %+v", same)
	}
	version = tagged("two", `"2"`)
	changed := latest(t, s, address)
	if string(changed.Content) != "two" || string(changed.Kept) != "one" {
		t.Errorf("changed: %+v", changed)
	}
	keep(t, changed)
	if last := latest(t, s, address); string(last.Kept) != "two" {
		t.Errorf("kept: %+v", last)
	}
	want := []int{200, 200, 304, 200, 304}
	for i, code := range statuses {
		if code != want[i] {
			t.Fatalf("answers were %v, wanted %v", statuses, want)
		}
	}
}

type statusRecorder struct {
	http.ResponseWriter
	code int
}

func (r *statusRecorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

func TestLatestOffline(t *testing.T) {
	for name, broken := range map[string]http.HandlerFunc{
		"connection cut": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"server error":   status(503),
		"body cut":       cutAt(content, 10),
	} {
		t.Run(name, func(t *testing.T) {
			s, log := newStore(t)
			address, _ := server(t, serve([]byte("kept")), broken)
			keep(t, latest(t, s, address))
			doc := latest(t, s, address)
			if string(doc.Content) != "kept" || !doc.Offline || !strings.Contains(log.String(), "using the kept copy") {
				t.Errorf("got %+v, log %s", doc, log)
			}
		})
	}
}

func TestLatestRefuses(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"404":       status(404),
		"403":       status(403),
		"503":       status(503),
		"too large": serve(make([]byte, MaxDocument+1)),
		"cut":       cutAt(content, 10),
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t)
			address, _ := server(t, handler)
			_, err := s.Latest(t.Context(), address)
			if err == nil || errors.Is(err, ErrNotFound) != (name == "404") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestLatestGoneIsNotOffline(t *testing.T) {
	s, _ := newStore(t)
	address, _ := server(t, serve([]byte("kept")), status(404))
	keep(t, latest(t, s, address))
	if _, err := s.Latest(t.Context(), address); !errors.Is(err, ErrNotFound) {
		t.Errorf("error is %v", err)
	}
}

func TestDamagedCopyCountsAsNone(t *testing.T) {
	s, _ := newStore(t)
	address, _ := server(t, tagged("document", `"1"`))
	keep(t, latest(t, s, address))
	files, _ := filepath.Glob(filepath.Join(s.dir, "latest", "*"))
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	if err := os.WriteFile(files[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	if doc := latest(t, s, address); doc.Kept != nil || string(doc.Content) != "document" {
		t.Errorf("got %+v", doc)
	}
}
