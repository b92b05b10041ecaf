package repository

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/debiantest"
)

// The key is made in January, the archive published in February, and it is the first of March.
var (
	keyMade   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	published = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	present   = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
)

func at(when time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return when }, Algorithm: packet.PubKeyAlgoEdDSA}
}

// newKey makes a key that is good for some days, or for ever with 0.
func newKey(t testing.TB, days uint32) *openpgp.Entity {
	t.Helper()
	config := at(keyMade)
	config.KeyLifetimeSecs = days * 24 * 3600
	key, err := openpgp.NewEntity("Archive", "", "archive@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// writeKeyring writes the public keys to a file.
func writeKeyring(t testing.TB, armored bool, keys ...*openpgp.Entity) string {
	t.Helper()
	var binary bytes.Buffer
	for _, key := range keys {
		if err := key.Serialize(&binary); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "keyring")
	content := binary.Bytes()
	if armored {
		var text bytes.Buffer
		w, err := armor.Encode(&text, openpgp.PublicKeyType, nil)
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, w, string(content))
		content = text.Bytes()
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mustWrite writes all there is to write.
func mustWrite(t testing.TB, w io.WriteCloser, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// clearsigned signs a text with all keys.
func clearsigned(t testing.TB, text string, when time.Time, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var private []*packet.PrivateKey
	for _, key := range keys {
		private = append(private, key.PrivateKey)
	}
	var out bytes.Buffer
	w, err := clearsign.EncodeMulti(&out, private, at(when))
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w, text)
	return append(out.Bytes(), '\n')
}

// mirror is a Debian archive and its security archive on one server.
type mirror struct {
	t    testing.TB
	key  *openpgp.Entity
	url  string
	log  bytes.Buffer
	mu   sync.Mutex
	file map[string][]byte // by path
	seen []string          // paths of requests
}

// newMirror starts an archive with the empty pockets of trixie.
func newMirror(t testing.TB) *mirror {
	t.Helper()
	m := &mirror{t: t, key: newKey(t, 0), file: map[string][]byte{}}
	server := httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(server.Close)
	m.url = server.URL
	m.publish("trixie", nil)
	m.publish("trixie-updates", nil)
	m.publish("trixie-security", nil)
	return m
}

func (m *mirror) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, r.URL.Path)
	content, there := m.file[r.URL.Path]
	if !there {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(content)))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// edit is a change to a Release file before it is signed.
type edit func(fields map[string]string)

func set(name, value string) edit { return func(fields map[string]string) { fields[name] = value } }

// base is the path of a pocket's archive.
func base(pocket string) string {
	if strings.HasSuffix(pocket, securitySuffix) {
		return "/debian-security"
	}
	return "/debian"
}

// publish writes a pocket with an index of these stanzas.
func (m *mirror) publish(pocket string, stanzas []string, edits ...edit) {
	m.t.Helper()
	index := []byte(debiantest.Compress(m.t, strings.Join(stanzas, "\n")))
	dir := base(pocket) + "/dists/" + pocket
	sum := digest.Of(index).String()
	m.put(dir+"/main/binary-amd64/Packages.xz", index)
	m.put(dir+"/main/binary-amd64/by-hash/SHA256/"+sum, index)
	fields := map[string]string{
		"Origin": "Debian", "Suite": strings.Replace(pocket, "trixie", "stable", 1), "Codename": pocket,
		"Date": published.Format(time.RFC1123), "Acquire-By-Hash": "yes", "Architectures": "all amd64 arm64",
		"Components": "updates/main", "SHA256": fmt.Sprintf("\n %s %d main/binary-amd64/Packages.xz", sum, len(index)),
	}
	for _, change := range edits {
		change(fields)
	}
	var text strings.Builder
	for name, value := range fields {
		fmt.Fprintf(&text, "%s: %s\n", name, value)
	}
	m.put(dir+"/InRelease", clearsigned(m.t, text.String(), published, m.key))
}

func (m *mirror) put(path string, content []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.file[path] = content
}

func (m *mirror) remove(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.file, path)
}

// requests returns the paths asked for since the last call.
func (m *mirror) requests() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.seen
	m.seen = nil
	return seen
}

// archive returns an archive over the mirror with an empty store.
func (m *mirror) archive() *Archive {
	log := slog.New(slog.NewTextHandler(&m.log, nil))
	dir := m.t.TempDir()
	return &Archive{
		Sources: Sources{
			Main:     m.url + "/debian",
			Security: m.url + "/debian-security",
			Keyring:  writeKeyring(m.t, false, newKey(m.t, 0), m.key),
		},
		Store:    fetch.New(filepath.Join(dir, "store"), log, nil),
		Log:      log,
		CacheDir: filepath.Join(dir, "index"),
		Now:      present,
	}
}
