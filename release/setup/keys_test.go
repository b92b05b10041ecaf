package setup

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// A release whose machines would refuse its own updates is not begun.
func TestTrustedKey(t *testing.T) {
	mine, other := t.TempDir(), t.TempDir()
	updateKeys(t, mine)
	updateKeys(t, other)
	for name, c := range map[string]struct {
		key  string // UPDATE_KEY
		want string
	}{
		"the private half": {filepath.Join(mine, "update.key"), ""},
		"another key":      {filepath.Join(other, "update.key"), "mine.yaml:7: update: update.pem is not the public half of UPDATE_KEY"},
		"no key":           {"", "mine.yaml:7: update: machines would trust update.pem, and without UPDATE_KEY"},
	} {
		p := &profiles.Profile{File: "mine.yaml", Dir: mine, Update: &profiles.Update{}}
		p.Update.Key.Value, p.Update.Key.Line = "update.pem", 7
		keys, err := OpenKeys(Options{UpdateKey: c.key}, p, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.CheckTrusted(p); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error is %v; wanted %q", name, err, c.want)
		}
	}
	p := &profiles.Profile{File: "mine.yaml", Dir: mine, Update: &profiles.Update{}}
	p.Update.Key.Value, p.Update.Key.Line = "nothing.pem", 7
	if _, err := OpenKeys(Options{}, p, t.TempDir()); err == nil || !strings.Contains(err.Error(), "mine.yaml:7: update: ") {
		t.Errorf("error is %v", err)
	}
}

// Where the profile names no key, machines trust whom the base trusts, and any key may sign.
func TestNoTrustedKey(t *testing.T) {
	for name, update := range map[string]*profiles.Update{"none": nil, "no key": {}} {
		p := &profiles.Profile{File: "mine.yaml", Update: update}
		k, err := OpenKeys(Options{}, p, t.TempDir())
		if err != nil || k.Trusted != nil || k.Boot != nil || k.CheckTrusted(p) != nil {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
}

// updateKeys writes a new key to update.key, and its public half to update.pem.
func updateKeys(t *testing.T, dir string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := sign.EncodePublic(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})
	err = errors.Join(os.WriteFile(filepath.Join(dir, "update.key"), key, 0o600), os.WriteFile(filepath.Join(dir, "update.pem"), public, 0o600))
	if err != nil {
		t.Fatal(err)
	}
}
