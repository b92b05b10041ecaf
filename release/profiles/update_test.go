package profiles

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyFile writes a new key's halves as they are asked for.
func keyFile(t *testing.T, public, private bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	var content []byte
	if public {
		content = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	if private {
		if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			t.Fatal(err)
		}
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUpdate(t *testing.T) {
	public, private, both := keyFile(t, true, false), keyFile(t, false, true), keyFile(t, true, true)
	for update, want := range map[string]string{
		"{key: " + public + ", server: 'https://example.org/v1/update/', group: edge}": "",
		"{server: 'http://[2001:db8::1]:8000/v1/update'}":                              "",
		"{group: 5b810680-e36a-4879-b98a-4f989e80b899}":                                "",
		"{}":                                                   ":5: update: empty; wanted at least one of key",
		"{key: nope.pem}":                                      `:5: "nope.pem" not found`,
		"{key: empty}":                                         `:5: "empty" does not contain exactly one public key in PEM`,
		"{key: " + private + "}":                               "does not contain exactly one public key in PEM",
		"{key: " + both + "}":                                  "does not contain exactly one public key in PEM",
		"{server: example.org/v1/update/}":                     `:5: server: wanted the http or https address`,
		"{server: 'https://example.org'}":                      ":5: server",
		"{server: 'https://example.org/'}":                     ":5: server",
		"{server: 'https:///v1/update/'}":                      ":5: server",
		"{server: 'https://:8000/v1/update/'}":                 ":5: server",
		"{server: 'ftp://example.org/v1/update/'}":             ":5: server",
		"{server: 'https://me:secret@example.org/v1/update/'}": ":5: server",
		"{server: 'https://example.org/v1/update/?a=b'}":       ":5: server",
		"{server: 'https://example.org/v1/update/#a'}":         ":5: server",
		"{server: 'https://example.org/v1/up date/'}":          ":5: server",
		`{server: "https://example.org/v1/\nGROUP=evil"}`:      ":5: server",
		`{group: "a\nSERVER=http://evil.example"}`:             ":5: group",
		"{group: 'my group'}":                                  ":5: group",
		"{grup: edge}":                                         `:5: unknown key "grup"`,
	} {
		p, err := load(t, head+"update: "+update+"\n", "empty")
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error is %v; wanted %q", update, err, want)
		case want == "" && err != nil:
			t.Errorf("%s: %v", update, err)
		case want == "" && p.Update == nil:
			t.Errorf("%s: nothing was read", update)
		}
	}
}
