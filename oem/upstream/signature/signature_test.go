package signature

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

var content = []byte("what is signed")

// minisigned returns a key pair's public half as text and a signature of the prehashed kind.
func minisigned(t testing.TB) (string, []byte) {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := public.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	reader := minisign.NewReader(bytes.NewReader(content))
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Fatal(err)
	}
	return lines[len(lines)-1], reader.Sign(private)
}

func TestMinisign(t *testing.T) {
	text, signed := minisigned(t)
	key, err := MinisignKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := Minisign(key, bytes.NewReader(content), signed); err != nil {
		t.Error(err)
	}
	otherText, otherSigned := minisigned(t)
	if _, err := MinisignKey(otherText[1:]); err == nil {
		t.Error("accepted a cut key")
	}
	for name, test := range map[string]struct {
		content, signature []byte
		says               string
	}{
		"other content":   {[]byte("what is Signed"), signed, "does not belong to this content"},
		"other key":       {content, otherSigned, "signed by key"},
		"changed comment": {content, bytes.Replace(signed, []byte("timestamp:"), []byte("timestamp:1"), 1), "does not belong"},
		"cut":             {content, signed[:len(signed)/2], "not a minisign signature"},
		"nothing":         {content, nil, "not a minisign signature"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Minisign(key, bytes.NewReader(test.content), test.signature); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestMinisignOfTheOldKind(t *testing.T) {
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := Minisign(public, bytes.NewReader(content), minisign.Sign(private, content)); err == nil || !strings.Contains(err.Error(), "legacy") {
		t.Errorf("error is %v", err)
	}
}

// pgpSigned returns a key and its detached signature, made a while ago.
func pgpSigned(t testing.TB, armored bool) (*openpgp.Entity, []byte) {
	t.Helper()
	past := &packet.Config{Time: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }, Algorithm: packet.PubKeyAlgoEdDSA}
	key, err := openpgp.NewEntity("Upstream", "", "upstream@example.org", past)
	if err != nil {
		t.Fatal(err)
	}
	sign := openpgp.DetachSign
	if armored {
		sign = openpgp.ArmoredDetachSign
	}
	var out bytes.Buffer
	if err := sign(&out, key, bytes.NewReader(content), past); err != nil {
		t.Fatal(err)
	}
	return key, out.Bytes()
}

func TestOpenPGPFile(t *testing.T) {
	now := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	for _, armored := range []bool{false, true} {
		key, signed := pgpSigned(t, armored)
		other, otherSigned := pgpSigned(t, armored)
		if err := OpenPGPFile(openpgp.EntityList{other, key}, bytes.NewReader(content), signed, now); err != nil {
			t.Error(err)
		}
		both := append(bytes.Clone(otherSigned), signed...)
		if err := OpenPGPFile(openpgp.EntityList{key}, bytes.NewReader(content), both, now); err != nil && !armored {
			t.Errorf("the second of two signatures: %v", err)
		}
		for name, err := range map[string]error{
			"other content": OpenPGPFile(openpgp.EntityList{key}, strings.NewReader("what is Signed"), signed, now),
			"other key":     OpenPGPFile(openpgp.EntityList{key}, bytes.NewReader(content), otherSigned, now),
			"cut":           OpenPGPFile(openpgp.EntityList{key}, bytes.NewReader(content), signed[:len(signed)/2], now),
			"nothing":       OpenPGPFile(openpgp.EntityList{key}, bytes.NewReader(content), nil, now),
			"before":        OpenPGPFile(openpgp.EntityList{key}, bytes.NewReader(content), signed, now.AddDate(-1, 0, 0)),
		} {
			if err == nil {
				t.Errorf("armored %v: accepted %s", armored, name)
			}
		}
	}
}

// TestOpenPGPThen has a key whose signing subkey lives for a day.
func TestOpenPGPThen(t *testing.T) {
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(when time.Time) *packet.Config {
		return &packet.Config{Time: func() time.Time { return when }, Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: 24 * 3600}
	}
	key, err := openpgp.NewEntity("Upstream", "", "upstream@example.org", at(made))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(when time.Time) []byte {
		var out bytes.Buffer
		signer := key.PrivateKey
		sig := &packet.Signature{
			Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: signer.PubKeyAlgo, Hash: crypto.SHA256,
			CreationTime: when, IssuerKeyId: &signer.KeyId,
		}
		hash := crypto.SHA256.New()
		hash.Write(content)
		if err := errors.Join(sig.Sign(hash, signer, at(when)), sig.Serialize(&out)); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	keys, hour, year := openpgp.EntityList{key}, made.Add(time.Hour), made.AddDate(1, 0, 0)
	if err := OpenPGPThen(keys, bytes.NewReader(content), sign(hour), year); err != nil {
		t.Errorf("signed while the key was valid: %v", err)
	}
	for name, err := range map[string]error{
		"judged today":         OpenPGPFile(keys, bytes.NewReader(content), sign(hour), year),
		"signed after the end": OpenPGPThen(keys, bytes.NewReader(content), sign(made.AddDate(0, 0, 2)), year),
		"signed before":        OpenPGPThen(keys, bytes.NewReader(content), sign(made.AddDate(0, 0, -1)), year),
		"signed in the future": OpenPGPThen(keys, bytes.NewReader(content), sign(hour), made),
		"other content":        OpenPGPThen(keys, strings.NewReader("what is Signed"), sign(hour), year),
	} {
		if err == nil {
			t.Errorf("accepted: %s", name)
		}
	}
}

func TestReadKeyring(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte("no keys"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyring(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
}

func FuzzSignatures(f *testing.F) {
	text, mini := minisigned(f)
	minisignKey, err := MinisignKey(text)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(mini)
	_, armored := pgpSigned(f, true)
	f.Add(armored)
	_, binary := pgpSigned(f, false)
	f.Add(binary)
	key, _ := pgpSigned(f, false) // of which no signature is a seed
	f.Fuzz(func(t *testing.T, signature []byte) {
		if OpenPGPFile(openpgp.EntityList{key}, bytes.NewReader(content), signature, time.Now()) == nil {
			t.Error("accepted a forged signature")
		}
		if Minisign(minisignKey, strings.NewReader("something else"), signature) == nil {
			t.Error("accepted a signature of something else")
		}
	})
}
