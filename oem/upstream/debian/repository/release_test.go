package repository

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/debiantest"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
)

// release gets a release that must be had.
func release(t *testing.T, a *Archive) *Release {
	t.Helper()
	r, err := a.Release(t.Context(), "trixie", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFromReleaseToPackage(t *testing.T) {
	m := newMirror(t)
	a := m.archive()
	deb := debiantest.Deb(t, "./usr/bin/tool")
	m.put("/debian/pool/tool.deb", deb)
	stanza := "Package: tool\nVersion: 1.0\nArchitecture: all\nFilename: pool/tool.deb\nSize: " + strconv.Itoa(len(deb)) + "\nSHA256: " + digest.Of(deb).String() + "\n"
	m.publish("trixie", []string{stanza})

	packages, err := release(t, a).Packages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closure, err := packages.Closure(debian.Ask{Want: []string{"tool"}})
	if err != nil || len(closure.Packages) != 1 {
		t.Fatalf("closure is %+v, %v", closure, err)
	}
	path, err := a.Deb(t.Context(), closure.Packages[0])
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(path); err != nil || !bytes.Equal(content, deb) {
		t.Errorf("the package differs: %v", err)
	}
}

func TestUnchangedReleaseCostsThreeRequests(t *testing.T) {
	m := newMirror(t)
	m.publish("trixie", []string{debiantest.Stanza("tool", "1")})
	a := m.archive()
	first := release(t, a)
	if _, err := first.Packages(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.requests()
	second := release(t, a)
	if _, err := second.Packages(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := m.requests()
	slices.Sort(seen)
	want := []string{"/debian-security/dists/trixie-security/InRelease", "/debian/dists/trixie-updates/InRelease", "/debian/dists/trixie/InRelease"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("requests, wanted (-), got (+):\n%s", diff)
	}
	if first.Fingerprint != second.Fingerprint || !first.Date.Equal(published) {
		t.Errorf("first %v of %v, second %v", first.Fingerprint, first.Date, second.Fingerprint)
	}
	m.publish("trixie-security", []string{debiantest.Stanza("tool", "2")}, set("Date", published.Add(time.Hour).Format(time.RFC1123)))
	third := release(t, a)
	if third.Fingerprint == first.Fingerprint || !third.Date.Equal(published.Add(time.Hour)) || !third.SuiteDate().Equal(published) {
		t.Errorf("after a security update: %+v", third)
	}
}

func TestReleaseRefuses(t *testing.T) {
	inRelease := "/debian/dists/trixie/InRelease"
	altered := func(m *mirror) {
		m.put(inRelease, bytes.Replace(m.file[inRelease], []byte("Packages.xz"), []byte("Packages.gz"), 1))
	}
	resign := func(keys ...*openpgp.Entity) func(m *mirror) {
		return func(m *mirror) {
			text, _ := openSigned(m.file[inRelease], openpgp.EntityList{m.key}, present)
			m.put(inRelease, clearsigned(t, text, published, keys...))
		}
	}
	for _, test := range []struct {
		name   string
		change func(m *mirror)
		says   string
	}{
		{"altered", altered, "no good signature by a key of the keyring"},
		{"unsigned", func(m *mirror) { m.put(inRelease, []byte("Suite: stable\nCodename: trixie\n")) }, "not signed"},
		{"signed by another", resign(newKey(t, 0)), "no good signature by a key of the keyring"},
		{"text before", func(m *mirror) { m.put(inRelease, append([]byte("Suite: x\n"), m.file[inRelease]...)) }, "outside the signed part"},
		{"text after", func(m *mirror) { m.put(inRelease, append(m.file[inRelease], "Suite: x\n"...)) }, "outside the signed part"},
		{"cut", func(m *mirror) { m.put(inRelease, m.file[inRelease][:200]) }, "not signed"},
		{"another suite", func(m *mirror) { m.publish("trixie", nil, set("Suite", "oldstable"), set("Codename", "bookworm")) }, `signed for the suite "oldstable" (bookworm)`},
		{"expired", func(m *mirror) {
			m.publish("trixie", nil, set("Valid-Until", present.Add(-time.Hour).Format(time.RFC1123)))
		}, "it expired at 2026-02-28 23:00:00 UTC"},
		{"no date", func(m *mirror) { m.publish("trixie", nil, set("Date", "yesterday")) }, "field Date"},
		{"local time", func(m *mirror) { m.publish("trixie", nil, set("Date", "Sun, 01 Feb 2026 00:00:00 CET")) }, "wanted the time zone UTC"},
		{"other architectures", func(m *mirror) { m.publish("trixie", nil, set("Architectures", "arm64 riscv64")) }, `has no architecture "amd64"; it has arm64, riscv64`},
		{"no index", func(m *mirror) { m.publish("trixie", nil, set("SHA256", "")) }, "no main/binary-amd64/Packages.xz in its SHA256 section"},
		{"no suite", func(m *mirror) { m.remove(inRelease) }, "404 Not Found"},
		{"no security pocket", func(m *mirror) { m.remove("/debian-security/dists/trixie-security/InRelease") }, "index of trixie-security"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMirror(t)
			test.change(m)
			_, err := m.archive().Release(t.Context(), "trixie", "amd64")
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v; wanted %q", err, test.says)
			}
		})
	}
}

func TestErrorsShowNoCredentials(t *testing.T) {
	for _, change := range []func(m *mirror){
		func(m *mirror) { m.put("/debian/dists/trixie/InRelease", []byte("unsigned")) },
		func(m *mirror) { m.remove("/debian/dists/trixie/InRelease") },
	} {
		m := newMirror(t)
		change(m)
		archive := m.archive()
		archive.Main = strings.Replace(archive.Main, "//", "//user:hunter2@", 1)
		_, err := archive.Release(t.Context(), "trixie", "amd64")
		if err == nil || strings.Contains(err.Error()+m.log.String(), "hunter2") {
			t.Errorf("error is %v\n%s", err, m.log.String())
		}
	}
}

func TestExpiredKeysCountForNothing(t *testing.T) {
	shortLived, other := newKey(t, 45), newKey(t, 0) // expires after the signature, before the present
	for name, test := range map[string]struct {
		signers []*openpgp.Entity
		now     time.Time
		good    bool
	}{
		"good then":                {[]*openpgp.Entity{shortLived}, published.Add(time.Hour), true},
		"expired since":            {[]*openpgp.Entity{shortLived}, present, false},
		"one of two is good":       {[]*openpgp.Entity{shortLived, other}, present, true},
		"one is unknown, one good": {[]*openpgp.Entity{newKey(t, 0), other}, present, true},
		"made in the future":       {[]*openpgp.Entity{other}, published.Add(-time.Hour), false},
		"both bad":                 {[]*openpgp.Entity{newKey(t, 0), shortLived}, present, false},
	} {
		document := clearsigned(t, "text\n", published, test.signers...)
		_, err := openSigned(document, openpgp.EntityList{shortLived, other}, test.now)
		if (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyringForms(t *testing.T) {
	key := newKey(t, 0)
	for _, armored := range []bool{false, true} {
		keys, err := signature.ReadKeyring(writeKeyring(t, armored, newKey(t, 0), key))
		if err != nil || len(keys) != 2 || !slices.ContainsFunc(keys, func(e *openpgp.Entity) bool { return e.PrimaryKey.KeyId == key.PrimaryKey.KeyId }) {
			t.Errorf("armored %v: %d keys, %v", armored, len(keys), err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, empty + ".missing"} {
		if _, err := signature.ReadKeyring(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v", err)
		}
	}
}

// An index that is older than one that was seen is not used, whether a server of the mirror is behind or someone replays it.
func TestOlderIndexIsNotUsed(t *testing.T) {
	m := newMirror(t)
	a := m.archive()
	old := m.file["/debian/dists/trixie/InRelease"]
	m.publish("trixie", nil, set("Date", published.Add(time.Hour).Format(time.RFC1123)))
	release(t, a)
	m.put("/debian/dists/trixie/InRelease", old)
	for range 2 { // what was seen is not forgotten
		r, err := a.Release(t.Context(), "trixie", "amd64")
		if err != nil || !r.SuiteDate().Equal(published.Add(time.Hour)) {
			t.Fatalf("the index is of %v, %v; wanted the one that was seen before", r, err)
		}
		if !strings.Contains(m.log.String(), "older than the one of 2026-02-01 01:00:00 seen before") {
			t.Errorf("no warning: %s", &m.log)
		}
	}
	if _, err := m.archive().Release(t.Context(), "trixie", "amd64"); err != nil {
		t.Errorf("who saw nothing newer accepts it: %v", err)
	}
}

func TestExpiredIsAcceptedOnRequest(t *testing.T) {
	m := newMirror(t)
	m.publish("trixie", nil, set("Valid-Until", present.Add(-time.Hour).Format(time.RFC1123)))
	a := m.archive()
	a.AllowExpired = true
	release(t, a)
	if !strings.Contains(m.log.String(), "the index is expired") {
		t.Errorf("no warning: %s", &m.log)
	}
}

func TestUnreleasedSuiteMayLackPockets(t *testing.T) {
	m := newMirror(t)
	m.publish("forky", []string{debiantest.Stanza("tool", "1")}, set("Suite", "testing"))
	a := m.archive()
	r, err := a.Release(t.Context(), "forky", "amd64")
	if err != nil || len(r.pockets) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if !strings.Contains(m.log.String(), "pocket=forky-security") {
		t.Errorf("not logged: %s", &m.log)
	}
	if _, err := a.Release(t.Context(), "testing", "amd64"); err == nil {
		t.Error("a suite that is not there was found")
	}
}

func TestPackagesRefuses(t *testing.T) {
	index := "/debian/dists/trixie/main/binary-amd64/"
	for name, test := range map[string]struct {
		change func(m *mirror)
		says   string
	}{
		"wrong digest": {func(m *mirror) {
			for path := range m.file {
				if strings.HasPrefix(path, index) {
					m.put(path, []byte(debiantest.Compress(t, debiantest.Stanza("tool", "6.6.6"))))
				}
			}
		}, "wrong content"},
		"gone": {func(m *mirror) {
			for path := range m.file {
				if strings.HasPrefix(path, index) {
					m.remove(path)
				}
			}
		}, "the mirror is being updated"},
		"malformed":   {func(m *mirror) { m.publish("trixie", []string{"no field\n"}) }, "is not a field"},
		"bad name":    {func(m *mirror) { m.publish("trixie", []string{debiantest.Stanza("../x", "1")}) }, `package "../x"`},
		"no version":  {func(m *mirror) { m.publish("trixie", []string{"Package: x\n"}) }, "wanted a name and a version"},
		"bad provide": {func(m *mirror) { m.publish("trixie", []string{debiantest.Stanza("x", "1", "Provides: y (")}) }, "field Provides"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t)
			m.publish("trixie", []string{debiantest.Stanza("tool", "1")})
			test.change(m)
			_, err := release(t, m.archive()).Packages(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v; wanted %q", err, test.says)
			}
		})
	}
}

func TestIndexWithoutByHash(t *testing.T) {
	m := newMirror(t)
	m.publish("trixie", []string{debiantest.Stanza("tool", "1")}, set("Acquire-By-Hash", "no"))
	if _, err := release(t, m.archive()).Packages(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range m.requests() {
		if strings.HasPrefix(path, "/debian/dists/trixie/") && strings.Contains(path, "by-hash") {
			t.Errorf("asked for %s", path)
		}
	}
}

func TestDamagedIndexCacheIsMadeAgain(t *testing.T) {
	m := newMirror(t)
	m.publish("trixie", []string{debiantest.Stanza("tool", "1")})
	a := m.archive()
	r := release(t, a)
	for range 2 {
		packages, err := r.Packages(t.Context())
		if err != nil || packages.Version("tool") != "1" {
			t.Fatalf("%v, %v", packages, err)
		}
		path := filepath.Join(a.CacheDir, "trixie_amd64")
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Replace(content, []byte("Version: 1"), []byte("Version: 2"), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDebRefuses(t *testing.T) {
	m := newMirror(t)
	a := m.archive()
	deb := debiantest.Deb(t, "./usr/bin/tool")
	m.put("/debian/pool/cut.deb", deb[:len(deb)-1])
	m.put("/debian/pool/altered.deb", append(deb[:len(deb)-1:len(deb)-1], 'x'))
	for filename, says := range map[string]string{
		"pool/gone.deb":    "package tool 1.0 (trixie) is no longer in the archive",
		"pool/cut.deb":     "wrong content",
		"pool/altered.deb": "wrong content",
		"../etc/passwd":    "is not a path below the archive",
		"/etc/passwd":      "is not a path below the archive",
	} {
		p := debian.Package{Name: "tool", Version: "1.0", Pocket: "trixie", Filename: filename, SHA256: digest.Of(deb)}
		_, err := a.Deb(t.Context(), p)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error is %v; wanted %q", filename, err, says)
		}
	}
}

func FuzzInRelease(f *testing.F) {
	key := newKey(f, 0)
	text := "Suite: stable\nCodename: trixie\nDate: Sun, 01 Feb 2026 00:00:00 UTC\nSHA256:\n " + digest.Of(nil).String() + " 0 main/binary-amd64/Packages\n"
	f.Add(clearsigned(f, text, published, key))
	f.Add([]byte(text))
	f.Fuzz(func(t *testing.T, document []byte) {
		if signed, err := openSigned(document, openpgp.EntityList{key}, present); err == nil && signed != text {
			t.Errorf("nobody signed %q", signed)
		}
		parsed, err := parseInRelease(string(document))
		if err != nil {
			return
		}
		if want, err := parsed.index("http://example.org", "main/binary-amd64"); err == nil && (want.Size < 0 || len(want.URLs) == 0) {
			t.Errorf("index is %+v", want)
		}
	})
}
