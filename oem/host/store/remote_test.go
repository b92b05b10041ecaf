package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// machine is one that has a cache of its own, and may share it.
type machine struct {
	blobs   *Blobs
	results *Results
	runs    int
	log     bytes.Buffer
}

func newMachine(t *testing.T, read []string, write string) *machine {
	t.Helper()
	m := &machine{}
	shared, err := OpenShared(read, write, slog.New(slog.NewTextHandler(&m.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if m.blobs, err = OpenBlobs(t.TempDir(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	m.results, err = OpenResults(t.TempDir(), m.blobs, shared)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// made is a result with two blobs.
type made struct {
	Name   string
	First  digest.SHA256
	Second digest.SHA256
}

const first, second = "the first blob", "and the second"

func (made) blobs() []Blob {
	return []Blob{{digest.Of([]byte(first)), int64(len(first))}, {digest.Of([]byte(second)), int64(len(second))}}
}

// step does a step and fails the test unless the result and its blobs are right.
func (m *machine) step(t *testing.T, input string) {
	t.Helper()
	got, err := Memo(t.Context(), m.results.Step("step", input), made.blobs, func() (made, error) {
		m.runs++
		a, _, err := m.blobs.Add(strings.NewReader(first))
		b, _, other := m.blobs.Add(strings.NewReader(second))
		return made{input, a, b}, errors.Join(err, other)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := made{input, digest.Of([]byte(first)), digest.Of([]byte(second))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for d, content := range map[digest.SHA256]string{got.First: first, got.Second: second} {
		var read bytes.Buffer
		if err := m.blobs.CopyTo(&read, d); err != nil || read.String() != content {
			t.Errorf("read %q, %v", &read, err)
		}
	}
}

// dir makes a directory and fails the test unless it is right.
func (m *machine) dir(t *testing.T) {
	t.Helper()
	at := time.Date(2020, 1, 2, 3, 4, 5, 678, time.UTC)
	path := filepath.Join(t.TempDir(), "made")
	err := Dir(t.Context(), m.results, path, digest.Of([]byte("dir")), func(temp string) error {
		m.runs++
		return errors.Join(
			os.MkdirAll(filepath.Join(temp, "root/bin"), 0o755),
			os.MkdirAll(filepath.Join(temp, "root/dev/null"), 0o755),
			os.MkdirAll(filepath.Join(temp, "root/usr/dev"), 0o755),
			os.WriteFile(filepath.Join(temp, "root/usr/dev/can"), nil, 0o644),
			os.WriteFile(filepath.Join(temp, "root/bin/true"), []byte("#!"), 0o755),
			os.Link(filepath.Join(temp, "root/bin/true"), filepath.Join(temp, "root/bin/yes")),
			os.Symlink("/usr/bin/true", filepath.Join(temp, "root/false")),
			os.Chtimes(filepath.Join(temp, "root/bin/true"), at, at),
			os.Chmod(filepath.Join(temp, "root/bin/true"), 0o711|os.ModeSetuid),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(path, "root/bin/yes"))
	if err != nil || !info.ModTime().Equal(at) || info.Mode() != 0o711|os.ModeSetuid {
		t.Errorf("made %v at %v, %v", info.Mode(), info.ModTime(), err)
	}
	if _, err := os.Stat(filepath.Join(path, "root/usr/dev/can")); err != nil {
		t.Error(err)
	}
	if target, err := os.Readlink(filepath.Join(path, "root/false")); target != "/usr/bin/true" {
		t.Errorf("leads to %q, %v", target, err)
	}
}

func (m *machine) warnings() int { return strings.Count(m.log.String(), "level=WARN") }

// TestSharing is for a directory; other tests have servers.
func TestSharing(t *testing.T) { share(t, t.TempDir()) }

// share lets one machine make what others then need not.
func share(t *testing.T, place string) {
	t.Helper()
	maker := newMachine(t, []string{place}, place)
	maker.step(t, "a")
	maker.step(t, "a")
	maker.dir(t)
	reader := newMachine(t, []string{place}, "")
	reader.step(t, "a")
	reader.dir(t)
	if maker.runs != 2 || reader.runs != 0 {
		t.Errorf("%d runs, and then %d; wanted 2 and none", maker.runs, reader.runs)
	}
	reader.step(t, "b")
	stranger := newMachine(t, []string{place}, "")
	stranger.step(t, "b")
	if stranger.runs != 1 {
		t.Error("a machine that must not write did")
	}
	if n := maker.warnings() + reader.warnings() + stranger.warnings(); n > 0 {
		t.Errorf("warned: %s%s%s", &maker.log, &reader.log, &stranger.log)
	}
}

// TestBadCaches shows that whatever a cache answers, the result is right, and that there is one warning.
func TestBadCaches(t *testing.T) {
	good := t.TempDir()
	newMachine(t, nil, good).step(t, "a")
	other := t.TempDir()
	newMachine(t, nil, other).step(t, "other")
	files := http.FileServer(http.Dir(good))
	is := func(r *http.Request, kind Kind) bool { return strings.HasPrefix(r.URL.Path, "/"+string(kind)+"/") }
	// in answers for one kind, and the good cache for the other.
	in := func(kind Kind, answer http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if is(r, kind) {
				answer(w, r)
				return
			}
			files.ServeHTTP(w, r)
		}
	}
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		runs   int
		warns  int
	}{
		"good":                {files.ServeHTTP, 0, 0},
		"empty":               {status(404), 1, 0},
		"no blobs":            {in(Content, status(404)), 1, 0},
		"blob of other bytes": {in(Content, says("the f1rst blob")), 1, 1},
		"short blob":          {in(Content, says("the")), 1, 1},
		"long blob":           {in(Content, says(first+first)), 1, 1},
		"endless blob":        {in(Content, endless), 1, 1},
		"cut blob": {in(Content, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "14")
			_, _ = w.Write([]byte("the"))
		}), 1, 1},
		"a web page":         {in(ActionCache, says("<html>log in</html>")), 1, 1},
		"nothing":            {in(ActionCache, says("")), 1, 1},
		"endless result":     {in(ActionCache, endless), 1, 1},
		"another step's":     {in(ActionCache, anyFile(t, filepath.Join(other, "ac"))), 1, 1},
		"bytes were changed": {in(ActionCache, changed(t, filepath.Join(good, "ac"))), 1, 1},
		"server error":       {status(500), 1, 1},
		"access denied":      {status(403), 1, 1},
		"leads to a file": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, 1, 1},
		"leads in circles": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, 1, 1},
		"hangs up":         {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(test.answer)
			defer server.Close()
			m := newMachine(t, []string{"http://user:hunter2@" + strings.TrimPrefix(server.URL, "http://")}, "")
			m.step(t, "a")
			if m.runs != test.runs || m.warnings() != test.warns {
				t.Errorf("%d runs and %d warnings; wanted %d and %d\n%s", m.runs, m.warnings(), test.runs, test.warns, &m.log)
			}
			m.step(t, "b")
			if m.warnings() != test.warns {
				t.Errorf("warned again:\n%s", &m.log)
			}
			if strings.Contains(m.log.String(), "hunter2") {
				t.Errorf("the log has the password:\n%s", &m.log)
			}
		})
	}
}

// anyFile answers with the first file of a directory.
func anyFile(t *testing.T, dir string) http.HandlerFunc {
	t.Helper()
	content := firstFile(t, dir)
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }
}

// changed answers with the first file of a directory, in which one byte of the result is another one.
func changed(t *testing.T, dir string) http.HandlerFunc {
	t.Helper()
	content := bytes.Replace(firstFile(t, dir), []byte(`"Name":"a"`), []byte(`"Name":"b"`), 1)
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }
}

func firstFile(t *testing.T, dir string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has nothing, %v", dir, err)
	}
	content, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestUnreachableCache(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	m := newMachine(t, []string{server.URL}, server.URL)
	m.step(t, "a")
	m.step(t, "b")
	if m.runs != 2 || m.warnings() != 2 { // one for reading, one for writing
		t.Errorf("%d runs and\n%s", m.runs, &m.log)
	}
}

// TestReadOnlyCache shows that a server that refuses writes is still read.
func TestReadOnlyCache(t *testing.T) {
	good := t.TempDir()
	newMachine(t, nil, good).step(t, "a")
	files := http.FileServer(http.Dir(good))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		files.ServeHTTP(w, r)
	}))
	defer server.Close()
	m := newMachine(t, []string{server.URL}, server.URL)
	m.step(t, "b")
	m.step(t, "c")
	m.step(t, "a")
	if m.runs != 2 || m.warnings() != 1 {
		t.Errorf("%d runs and\n%s", m.runs, &m.log)
	}
}

// TestDamagedBlobIsNotShared has a blob that was right when it was added.
func TestDamagedBlobIsNotShared(t *testing.T) {
	place := t.TempDir()
	m := newMachine(t, nil, place)
	_, err := Memo(t.Context(), m.results.Step("step", "a"), made.blobs, func() (made, error) {
		_, _, err := m.blobs.Add(strings.NewReader(first))
		d, _, other := m.blobs.Add(strings.NewReader(second))
		return made{}, errors.Join(err, other, os.WriteFile(m.blobs.Path(d), []byte("and the s3cond"), 0o644))
	})
	if err != nil || m.warnings() != 1 {
		t.Errorf("%v\n%s", err, &m.log)
	}
	if left, _ := filepath.Glob(filepath.Join(place, "ac/*")); len(left) > 0 {
		t.Errorf("shared %v", left)
	}
}

// TestLargeBlobsStay has a result whose blob is not worth sending.
func TestLargeBlobsStay(t *testing.T) {
	place := t.TempDir()
	m := newMachine(t, []string{place}, place)
	large := func(int64) []Blob { return []Blob{{digest.SHA256{}, maxShared + 1}} }
	if _, err := Memo(t.Context(), m.results.Step("step", "a"), large, func() (int64, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(place, "*/*")); len(left) > 0 || m.warnings() > 0 {
		t.Errorf("shared %v\n%s", left, &m.log)
	}
}

func TestOpenRemoteRefuses(t *testing.T) {
	for _, place := range []string{"ftp://example.org/", "http://", "https://example.org/?key=1", "http://[::1/", "file:///tmp", "http://example.org/oem", "http://10.0.0.1/", "insecure+file:///tmp"} {
		if r, err := OpenRemote(place); err == nil {
			t.Errorf("%s is %v", place, r)
		}
	}
}

func TestOpenRemote(t *testing.T) {
	for _, place := range []string{"https://example.org/oem", "http://localhost:8080/", "http://127.0.0.1/", "http://[::1]:80/oem", "insecure+http://10.0.0.1/", "some/directory"} {
		if _, err := OpenRemote(place); err != nil {
			t.Errorf("%s: %v", place, err)
		}
	}
}

func TestCancelledIsNoWarning(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	m := newMachine(t, []string{server.URL}, server.URL)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Memo(ctx, m.results.Step("step", "a"), Nothing, func() (int, error) { return 0, ctx.Err() }); !errors.Is(err, context.Canceled) || m.warnings() > 0 {
		t.Errorf("%v\n%s", err, &m.log)
	}
}

func FuzzDecodeAction(f *testing.F) {
	key := digest.Of([]byte("key"))
	f.Add(encodeAction(key, []byte("{}"), made{}.blobs()))
	f.Add([]byte("\x2a\x02\n\n"))
	f.Add([]byte(fmt.Sprint(http.StatusText(200))))
	f.Fuzz(func(t *testing.T, message []byte) {
		result, err := decodeAction(key, message)
		if err == nil && !bytes.Contains(message, []byte(seal(key, result))) {
			t.Errorf("took %q", result)
		}
	})
}
