package flatcar

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/flatcar/oem-sysext/oem/host/fetch"
)

// What was published with a release comes from its directory, signed with the key; payloads come from the servers of updates, and prove
// themselves. Either is asked for once.
func TestPublishedFilesAreDownloaded(t *testing.T) {
	key := newKey(t)
	o := newOptions(t, openpgp.EntityList{key})
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var signature bytes.Buffer
	if err := openpgp.DetachSign(&signature, key, strings.NewReader("image"), nil); err != nil {
		t.Fatal(err)
	}
	signed := file("image.sig", signature.String())
	s := &server{files: map[string]string{
		"/stable/amd64-usr/4593.2.1/oem-azure.raw":     file("image", "image"),
		"/stable/amd64-usr/4593.2.1/oem-azure.raw.sig": signed,
		"/stable/amd64-usr/4593.2.1/oem-gce.raw":       file("other", "another image"),
		"/stable/amd64-usr/4593.2.1/oem-gce.raw.sig":   signed,
		"/stable/amd64-usr/4593.2.1/oem-qemu.raw":      file("unsigned", "image"),
		"/updates/amd64-usr/4593.2.1/oem-qemu.gz":      file("payload", "payload"),
	}}
	web := httptest.NewServer(s)
	defer web.Close()
	o.Servers, o.Updates = web.URL+"/CHANNEL", web.URL+"/updates"

	for _, r := range []Reference{{Version: "4593.2.1"}, {Channel: "stable"}, {URL: web.URL + "/stable/amd64-usr/4593.2.1/" + diskImage}} {
		found, err := o.Published(t.Context(), r, "4593.2.1", "oem-azure.raw")
		if err != nil || !found.Signed {
			t.Fatalf("%+v: %+v, %v", r, found, err)
		}
		if content, err := os.ReadFile(found.Path); err != nil || string(content) != "image" {
			t.Errorf("%+v: %q, %v", r, content, err)
		}
	}
	release := Reference{Version: "4593.2.1"}
	fresh := newOptions(t, openpgp.EntityList{key}) // where nothing with this signature is kept
	fresh.Servers = o.Servers
	if _, err := fresh.Published(t.Context(), release, "4593.2.1", "oem-gce.raw"); err == nil || !strings.Contains(err.Error(), "not signed with Flatcar's key") {
		t.Errorf("another image's signature: %v", err)
	}
	for _, name := range []string{"oem-qemu.raw", "oem-hetzner.raw"} { // without a signature, and none at all
		if _, err := o.Published(t.Context(), release, "4593.2.1", name); !errors.Is(err, fetch.ErrNotFound) {
			t.Errorf("%s: error is %v; wanted %v", name, err, fetch.ErrNotFound)
		}
	}

	checked := 0
	payload := func(name string, refuse error) (Published, error) {
		return o.Payload(t.Context(), release, "4593.2.1", name, "key", func(string) error { checked++; return refuse })
	}
	refused := errors.New("refused")
	if _, err := payload("oem-qemu.gz", refused); !errors.Is(err, refused) {
		t.Errorf("error is %v; wanted that of the check", err)
	}
	before := len(s.requests)
	for range 2 {
		if found, err := payload("oem-qemu.gz", nil); err != nil || !found.Signed {
			t.Fatalf("%+v, %v", found, err)
		}
	}
	if checked != 2 || len(s.requests) != before+1 {
		t.Errorf("checked %d times, with the requests %v", checked, s.requests[before:])
	}
	if _, err := payload("oem-gce.gz", nil); !errors.Is(err, fetch.ErrNotFound) {
		t.Errorf("error is %v; wanted %v", err, fetch.ErrNotFound)
	}
}

// A base in the cache with one bit of a program changed is not used.
func TestDamagedBaseIsRefused(t *testing.T) {
	o := newOptions(t, openpgp.EntityList{newKey(t)})
	b, err := open(t, o, published.partition)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(b.Usr, "lib/systemd/systemd")
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	content[100] ^= 1
	if err := os.WriteFile(program, content, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, o, published.partition); err == nil || !strings.Contains(err.Error(), `"usr/lib/systemd/systemd"`) {
		t.Errorf("error is %v; wanted the name of the program", err)
	}
}
