package sign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

var content = []byte("what is signed")

// TestKeyFile signs with keys that openssl made, and lets openssl verify.
func TestKeyFile(t *testing.T) {
	needs.Programs(t, "openssl")
	dir := t.TempDir()
	pkcs8 := newKey(t, dir, "pkcs8.pem", "rsa", "rsa_keygen_bits:2048")
	pkcs1 := filepath.Join(dir, "pkcs1.pem")
	openssl(t, "rsa", "-traditional", "-in", pkcs8, "-out", pkcs1)
	long := newKey(t, dir, "long.pem", "rsa", "rsa_keygen_bits:4096")
	signatures := map[string][]byte{}
	for _, path := range []string{pkcs8, pkcs1, long} {
		signer := open(t, Files{Key: path})
		signature, err := signer.Sign(t.Context(), "content", digest.Of(content))
		if err != nil {
			t.Fatal(err)
		}
		signatures[path] = signature
		if err := Verify(signer.Public(), digest.Of(content), signature); err != nil {
			t.Error(err)
		}
		if err := Verify(signer.Public(), digest.Of([]byte("something else")), signature); err == nil {
			t.Error("a signature belongs to two contents")
		}
		opensslVerifies(t, signer, signature)
		if signer.Development() {
			t.Errorf("%s is said to be the development key", path)
		}
		if err := signer.Finish(); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(signatures[pkcs8], signatures[pkcs1]) {
		t.Error("one key in two encodings gives two signatures")
	}
}

func TestSignStopsWithItsContext(t *testing.T) {
	signer := open(t, Files{Cache: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := signer.Sign(ctx, "content", digest.Of(content)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; wanted context.Canceled", err)
	}
}

func TestRefusedKeys(t *testing.T) {
	needs.Programs(t, "openssl")
	dir := t.TempDir()
	good := newKey(t, dir, "good.pem", "rsa", "rsa_keygen_bits:2048")
	other := newKey(t, dir, "other.pem", "rsa", "rsa_keygen_bits:2048")
	certificate := filepath.Join(dir, "other.crt")
	openssl(t, "req", "-x509", "-new", "-key", other, "-subj", "/CN=other", "-out", certificate)
	encrypted := filepath.Join(dir, "encrypted.pem")
	openssl(t, "pkey", "-in", good, "-aes256", "-passout", "pass:secret", "-out", encrypted)
	public := filepath.Join(dir, "public.pem")
	openssl(t, "pkey", "-in", good, "-pubout", "-out", public)
	grouped := filepath.Join(dir, "grouped.pem")
	write(t, grouped, 0o640, read(t, good))
	garbage := filepath.Join(dir, "garbage.pem")
	write(t, garbage, 0o600, []byte("no key\n"))
	broken := filepath.Join(dir, "broken.pem")
	write(t, broken, 0o600, []byte("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	large := filepath.Join(dir, "large.pem")
	write(t, large, 0o600, make([]byte, maxFile+1))
	two := filepath.Join(dir, "two.pem")
	write(t, two, 0o600, append(read(t, good), read(t, other)...))
	for name, test := range map[string]struct {
		files Files
		want  string
	}{
		"short":               {Files{Key: newKey(t, dir, "short.pem", "rsa", "rsa_keygen_bits:1024")}, "an RSA key of 1024 bits; wanted at least 2048"},
		"elliptic":            {Files{Key: newKey(t, dir, "ec.pem", "ec", "ec_paramgen_curve:P-256")}, "no RSA key in PKCS #8 (*ecdsa.PrivateKey); wanted RSA of at least 2048 bits"},
		"encrypted":           {Files{Key: encrypted}, "its private key is encrypted"},
		"read by the group":   {Files{Key: grouped}, "(mode 0640); run chmod 600 " + grouped},
		"no PEM":              {Files{Key: garbage}, "no PEM block; wanted"},
		"broken":              {Files{Key: broken}, "is no RSA key in PKCS #1"},
		"large":               {Files{Key: large}, "longer than 65536 B"},
		"two":                 {Files{Key: two}, "a second PRIVATE KEY; wanted one"},
		"missing":             {Files{Key: filepath.Join(dir, "none.pem")}, "no such file"},
		"other's certificate": {Files{Key: good, Certificate: certificate}, "is for another key"},
		"key as certificate":  {Files{Key: good, Certificate: public}, "no certificate; wanted"},
		"public, no place":    {Files{Key: public}, "set the directory for them"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(test.files)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got the error %v\nwanted one with   %s", err, test.want)
			}
		})
	}
}

// TestNothingPrintsAKey prints signers in every way that logs and errors do.
func TestNothingPrintsAKey(t *testing.T) {
	cache := t.TempDir()
	signer := open(t, Files{Cache: cache})
	found, err := readPEM(filepath.Join(cache, "development-key/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&printed, verb, signer)
		fmt.Fprintf(&printed, verb, *signer)
		fmt.Fprintf(&printed, verb, struct{ inner *Signer }{signer})
	}
	slog.New(slog.NewTextHandler(&printed, nil)).Info("key", "key", signer, "copy", *signer)
	slog.New(slog.NewJSONHandler(&printed, nil)).Info("key", "key", signer, "copy", *signer)
	for _, secret := range []string{found.private.D.String(), found.private.D.Text(16), found.private.Primes[0].String(), found.private.Primes[0].Text(16), "PRIVATE"} {
		if strings.Contains(strings.ToLower(printed.String()), strings.ToLower(secret)) {
			t.Error("a part of the private key is printed")
		}
	}
}

// TestDevelopmentKey shows that it is made once, whoever comes first, and always signs the same.
func TestDevelopmentKey(t *testing.T) {
	cache := t.TempDir()
	signers := make([]*Signer, 4)
	var group sync.WaitGroup
	for i := range signers {
		group.Go(func() { signers[i] = open(t, Files{Cache: cache}) })
	}
	group.Wait()
	first, err := signers[0].Sign(t.Context(), "content", digest.Of(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range signers {
		signature, err := s.Sign(t.Context(), "content", digest.Of(content))
		if err != nil {
			t.Fatal(err)
		}
		if !s.Development() || !bytes.Equal(first, signature) || !s.Certificate().Equal(signers[0].Certificate()) {
			t.Errorf("development %v, same signature %v, same certificate %v; wanted true for all", s.Development(),
				bytes.Equal(first, signature), s.Certificate().Equal(signers[0].Certificate()))
		}
	}
	info, err := os.Stat(filepath.Join(cache, "development-key/key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v; wanted mode 0600", info.Mode(), err)
	}
}

// TestCertificate lets openssl look at certificates that are made and given.
func TestCertificate(t *testing.T) {
	needs.Programs(t, "openssl")
	dir := t.TempDir()
	key := newKey(t, dir, "key.pem", "rsa", "rsa_keygen_bits:2048")
	made := filepath.Join(dir, "made.crt")
	write(t, made, 0o644, EncodeCertificate(open(t, Files{Key: key}).Certificate()))
	openssl(t, "verify", "-CAfile", made, "-check_ss_sig", made)
	if text := openssl(t, "x509", "-in", made, "-noout", "-subject"); !strings.Contains(text, "OEM extension images") {
		t.Errorf("subject is %s", text)
	}

	given := filepath.Join(dir, "given.crt")
	openssl(t, "req", "-x509", "-new", "-key", key, "-subj", "/CN=given", "-out", given)
	both := filepath.Join(dir, "both.pem")
	write(t, both, 0o600, append(read(t, key), read(t, given)...))
	for _, f := range []Files{{Key: key, Certificate: given}, {Key: both}, {Key: given, Signatures: dir}} {
		if got := open(t, f).Certificate().Subject.CommonName; got != "given" {
			t.Errorf("%v: certificate of %q; wanted the one that was given", f, got)
		}
	}
}

// TestOffline asks for signatures, makes them with the very commands that the error names, and takes them back.
func TestOffline(t *testing.T) {
	needs.Programs(t, "openssl")
	dir := t.TempDir()
	private := newKey(t, dir, "private.pem", "rsa", "rsa_keygen_bits:2048")
	public := filepath.Join(dir, "public.pem")
	openssl(t, "pkey", "-in", private, "-pubout", "-out", public)
	signatures := filepath.Join(dir, "signatures")
	files := Files{Key: public, Signatures: signatures}

	signer := open(t, files)
	for _, name := range []string{"two", "one", "one"} {
		_, err := signer.Sign(t.Context(), name, digest.Of([]byte(name)))
		var missing *MissingError
		if !errors.As(err, &missing) || missing.Name != name {
			t.Fatalf("got %v; wanted a MissingError", err)
		}
	}
	err := signer.Finish()
	var asked *RequestError
	if !errors.As(err, &asked) || asked.Count != 2 {
		t.Fatalf("got %v; wanted a RequestError about 2 signatures", err)
	}
	var request Request
	if err := json.Unmarshal(read(t, asked.Path), &request); err != nil {
		t.Fatal(err)
	}
	one, two := digest.Of([]byte("one")), digest.Of([]byte("two"))
	want := Request{"RSASSA-PKCS1-v1_5 SHA-256", signer.offline.fingerprint, []Missing{
		{"one", one, one.String() + ".sig"}, {"two", two, two.String() + ".sig"},
	}}
	if diff := cmp.Diff(want, request); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}

	_, script, _ := strings.Cut(err.Error(), "\n")
	if err := run.Run(t.Context(), run.Cmd{
		Program: "sh", Args: []string{"-euc", strings.ReplaceAll(script, "KEY.pem", private)},
		Dir: filepath.Dir(asked.Path), Env: run.HostEnv("PATH"),
	}); err != nil {
		t.Fatal(err)
	}
	signer = open(t, files)
	withKey := open(t, Files{Key: private})
	for _, name := range []string{"one", "two"} {
		got, err := signer.Sign(t.Context(), name, digest.Of([]byte(name)))
		if err != nil {
			t.Fatal(err)
		}
		want, err := withKey.Sign(t.Context(), name, digest.Of([]byte(name)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("signature of %s is another one than with the key at hand (%v)", name, err)
		}
	}
	if err := signer.Finish(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(asked.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the request is still there after all was signed: %v", err)
	}

	write(t, filepath.Join(signatures, one.String()+".sig"), 0o644, read(t, filepath.Join(signatures, two.String()+".sig")))
	_, err = signer.Sign(t.Context(), "one", one)
	if err == nil || !strings.Contains(err.Error(), "for sha256 "+one.String()) {
		t.Errorf("got %v; wanted a wrong signature to be refused", err)
	}
}

func TestReadPublic(t *testing.T) {
	dir := t.TempDir()
	signer := open(t, Files{Cache: dir})
	encoded, err := EncodePublic(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"key.pem": encoded, "key.crt": EncodeCertificate(signer.Certificate())} {
		path := filepath.Join(dir, name)
		write(t, path, 0o644, content)
		got, err := ReadPublic(path)
		if err != nil || !got.Equal(signer.Public()) {
			t.Errorf("%s: another key (%v)", name, err)
		}
	}
}

func open(t *testing.T, f Files) *Signer {
	t.Helper()
	signer, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func newKey(t *testing.T, dir, name, algorithm, option string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	openssl(t, "genpkey", "-quiet", "-algorithm", algorithm, "-pkeyopt", option, "-out", path)
	return path
}

func opensslVerifies(t *testing.T, signer *Signer, signature []byte) {
	t.Helper()
	dir := t.TempDir()
	public, err := EncodePublic(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "public"), 0o644, public)
	write(t, filepath.Join(dir, "content"), 0o644, content)
	write(t, filepath.Join(dir, "signature"), 0o644, signature)
	openssl(t, "dgst", "-sha256", "-verify", filepath.Join(dir, "public"), "-signature", filepath.Join(dir, "signature"), filepath.Join(dir, "content"))
}

func openssl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run.Output(t.Context(), run.Cmd{Program: "openssl", Args: args, Env: run.HostEnv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path string, mode os.FileMode, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// TestDevelopmentKeyInAFile says that the key of a cache stays one that nobody should trust, whole or only its public half, from wherever
// it is read.
func TestDevelopmentKeyInAFile(t *testing.T) {
	cache, dir := t.TempDir(), t.TempDir()
	own, err := Open(Files{Cache: cache})
	if err != nil || !own.Development() {
		t.Fatalf("without a file: %v, %v", own, err)
	}
	public, err := EncodePublic(own.Public())
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, "half.pem")
	if err := os.WriteFile(half, public, 0o600); err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(cache, developmentDir, developmentFile)
	for _, files := range []Files{{Key: whole}, {Key: half, Signatures: dir}} {
		for c, want := range map[string]bool{cache: true, t.TempDir(): false, "": false} {
			files.Cache = c
			s, err := Open(files)
			if err != nil || s.Development() != want {
				t.Errorf("%+v: %v, %v; wanted %v", files, s, err, want)
			}
		}
	}
}
