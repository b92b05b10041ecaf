package sign

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// newToken makes a token with one RSA key and returns the address of the key, without where the PIN is, and the file of the PIN.
func newToken(t *testing.T) (address, pin string) {
	t.Helper()
	needs.Programs(t, "softhsm2-util", "pkcs11-tool", "openssl")
	dir := t.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	pin = filepath.Join(dir, "pin")
	if err := errors.Join(os.WriteFile(config, []byte("directories.tokendir = "+dir+"\n"), 0o600), os.WriteFile(pin, []byte("4711\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	for _, c := range [][]string{
		{"softhsm2-util", "--init-token", "--free", "--label", "the token", "--pin", "4711", "--so-pin", "0815"},
		{"pkcs11-tool", "--module", softHSM, "--token-label", "the token", "--login", "--pin", "4711", "--keypairgen", "--key-type", "rsa:2048", "--label", "payloads", "--id", "0a"},
	} {
		if err := run.Run(t.Context(), run.Cmd{Program: c[0], Args: c[1:], Env: os.Environ()}); err != nil {
			t.Fatal(err)
		}
	}
	return "pkcs11:token=the%20token;object=payloads;type=private?module-path=" + softHSM, pin
}

// TestToken signs with a key in a token, and lets openssl verify.
func TestToken(t *testing.T) {
	address, pin := newToken(t)
	for _, key := range []string{address, strings.Replace(address, "object=payloads", "id=%0a", 1)} {
		signer := open(t, Files{Key: key + "&pin-source=file:" + pin})
		signature, err := signer.Sign(t.Context(), "content", digest.Of(content))
		if err != nil {
			t.Fatal(err)
		}
		opensslVerifies(t, signer, signature)
		if signer.Development() || signer.Certificate() != nil {
			t.Error("a key in a token has a certificate, or is the development key")
		}
		if err := signer.Finish(); err != nil {
			t.Error(err)
		}
		if text := fmt.Sprintf("%+v", signer); strings.Contains(text, "4711") {
			t.Errorf("printing it shows the PIN: %s", text)
		}
	}

	for says, change := range map[string]func(){
		"no public key in the token": func() { address = strings.Replace(address, "payloads", "others", 1) },
		"other users can read": func() {
			if err := os.Chmod(pin, 0o644); err != nil {
				t.Fatal(err)
			}
		},
	} {
		before := address
		change()
		_, err := Open(Files{Key: address + "&pin-source=" + pin})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "4711") {
			t.Errorf("wanted %q, error is %v", says, err)
		}
		address = before
		_ = os.Chmod(pin, 0o600)
	}
	if err := os.WriteFile(pin, []byte("4712\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, Files{Key: address, Certificate: certificateOf(t)}).Sign(t.Context(), "content", digest.Of(content)); err == nil {
		t.Error("a token signs without its PIN")
	}
}

// certificateOf makes a certificate of another key.
func certificateOf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	key, certificate := newKey(t, dir, "key.pem", "rsa", "rsa_keygen_bits:2048"), filepath.Join(dir, "certificate.pem")
	openssl(t, "req", "-x509", "-new", "-key", key, "-subj", "/CN=x", "-out", certificate)
	return certificate
}

// TestAddressesOfKeys reads addresses and refuses what it does not understand, without repeating a PIN.
func TestAddressesOfKeys(t *testing.T) {
	var good token
	if err := good.parse("pkcs11:token=a%3Bb;id=%01%ff?module-path=/usr/lib/m.so"); err != nil {
		t.Error(err)
	}
	if got := strings.Join(good.key, " "); got != "--module /usr/lib/m.so --token-label a;b --id 01ff" || good.pin != "" {
		t.Error(got)
	}
	for address, says := range map[string]string{
		"pkcs11:object=k":                                          "module-path",
		"pkcs11:object=k?module-path=m.so":                         "relative",
		"pkcs11:token=t?module-path=/m.so":                         "neither object nor id",
		"pkcs11:object=k;type=cert?module-path=/m.so":              "type=cert",
		"pkcs11:object=k;slot-id=1?module-path=/m.so":              `"slot-id"`,
		"pkcs11:object=%zz?module-path=/m.so":                      `"object"`,
		"pkcs11:object=k%00?module-path=/m.so":                     `"object"`,
		"pkcs11:object=k?module-path=/m.so&pin-value=4711":         "use pin-source",
		"pkcs11:object=k?module-path=/m.so&pin-source=/nowhere/to": "no such file",
	} {
		_, err := Open(Files{Key: address})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: wanted %q, error is %v", address, says, err)
		}
	}
}
