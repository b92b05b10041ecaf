package sign

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/upstream/signature"
)

var (
	born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now  = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	sums = []byte("0000  usr.bin\n")
)

// openpgpKey writes a private key and returns the path of it and of its public half.
func openpgpKey(t *testing.T, passphrase string, lifetime uint32) (private, public string, key *openpgp.Entity) {
	t.Helper()
	config := &packet.Config{Time: func() time.Time { return born }, KeyLifetimeSecs: lifetime, Algorithm: packet.PubKeyAlgoEdDSA}
	key, err := openpgp.NewEntity("Release", "", "release@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, mode os.FileMode, serialize func(*bytes.Buffer) error) string {
		var content, armored bytes.Buffer
		if err := serialize(&content); err != nil {
			t.Fatal(err)
		}
		w, err := armor.Encode(&armored, kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content.Bytes()); err != nil {
			t.Fatal(err)
		}
		w.Close()
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, armored.Bytes(), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public = write("public", openpgp.PublicKeyType, 0o644, func(b *bytes.Buffer) error { return key.Serialize(b) })
	if passphrase != "" {
		if err := key.EncryptPrivateKeys([]byte(passphrase), config); err != nil {
			t.Fatal(err)
		}
	}
	private = write("private", openpgp.PrivateKeyType, 0o600, func(b *bytes.Buffer) error { return key.SerializePrivateWithoutSigning(b, config) })
	return private, public, key
}

func TestOpenPGP(t *testing.T) {
	for name, test := range map[string]struct {
		passphrase string
		when, at   time.Time
	}{
		"later than the key":   {"", now.Add(-time.Hour), now.Add(-time.Hour)},
		"earlier than the key": {"", born.Add(-time.Hour), born},
		"locked":               {"correct horse", now, now},
	} {
		t.Run(name, func(t *testing.T) {
			private, public, _ := openpgpKey(t, test.passphrase, 0)
			made, err := OpenPGP(private, test.passphrase, sums, test.when, now)
			if err != nil {
				t.Fatal(err)
			}
			again, err := OpenPGP(private, test.passphrase, sums, test.when, now.Add(time.Hour))
			if err != nil || !bytes.Equal(made, again) {
				t.Errorf("another time it is another signature, %v", err)
			}
			keys, err := signature.ReadKeyring(public)
			if err != nil {
				t.Fatal(err)
			}
			if err := signature.OpenPGPThen(keys, bytes.NewReader(sums), made, now); err != nil {
				t.Error(err)
			}
			if err := signature.OpenPGPThen(keys, bytes.NewReader(sums[1:]), made, now); err == nil {
				t.Error("it fits other content")
			}
		})
	}
}

func TestGPGTakesIt(t *testing.T) {
	needs.Programs(t, "gpg")
	private, public, _ := openpgpKey(t, "", 0)
	made, err := OpenPGP(private, "", sums, now, now)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	gpg := func(args ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), "gpg", append([]string{"--homedir", home, "--batch"}, args...)...)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for name, content := range map[string][]byte{"SHA256SUMS": sums, "SHA256SUMS.asc": made} {
		if err := os.WriteFile(filepath.Join(home, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gpg("--import", public)
	gpg("--verify", filepath.Join(home, "SHA256SUMS.asc"), filepath.Join(home, "SHA256SUMS"))
}

func TestOpenPGPRefuses(t *testing.T) {
	good, public, _ := openpgpKey(t, "", 0)
	locked, _, _ := openpgpKey(t, "correct horse", 0)
	expired, _, _ := openpgpKey(t, "", 3600)
	open := filepath.Join(t.TempDir(), "open")
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, content, 0o640); err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(t.TempDir(), "public")
	content, err = os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(private, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ path, says string }{
		"read by the group": {open, "other users can read (mode 0640); run chmod 600"},
		"only public":       {private, "wanted one OpenPGP private key"},
		"wrong passphrase":  {locked, "wrong passphrase"},
		"expired":           {expired, "cannot sign now"},
		"missing":           {filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenPGP(test.path, "battery", sums, now, now)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestMinisign(t *testing.T) {
	public, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := private.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := Minisign(path, sums, "SHA256SUMS of 1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if err := signature.Minisign(public, bytes.NewReader(sums), made); err != nil {
		t.Error(err)
	}
	if again, err := Minisign(path, sums, "SHA256SUMS of 1.2.3"); err != nil || !bytes.Equal(made, again) {
		t.Errorf("another time it is another signature, %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Minisign(path, sums, ""); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("error is %v", err)
	}
	if err := os.WriteFile(path, []byte("RW no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Minisign(path, sums, ""); err == nil || !strings.Contains(err.Error(), "minisign -G -W") {
		t.Errorf("error is %v", err)
	}
}
