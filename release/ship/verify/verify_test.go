package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sums"
)

// keys are made once: an OpenPGP key and one of minisign.
type keyPair struct {
	openpgp  *openpgp.Entity
	minisign minisign.PrivateKey
	public   Keys
}

func newKeys(t *testing.T) keyPair {
	t.Helper()
	entity, err := openpgp.NewEntity("Release", "", "release@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{entity, private, Keys{openpgp.EntityList{entity}, &public}}
}

// signedRelease writes a small release that is right.
func signedRelease(t *testing.T, keys keyPair) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := &manifest.Manifest{Schema: manifest.Schema, Version: "1.2.3", Arch: "amd64"}
	var list strings.Builder
	add := func(name string, content []byte) {
		put(name, content)
		fmt.Fprintf(&list, "%v  %s\n", digest.Of(content), name)
	}
	for _, name := range []string{"oem-a.raw", "usr.bin", "vmlinuz"} {
		content := bytes.Repeat([]byte(name), 1000)
		add(name, content)
		m.Files = append(m.Files, manifest.File{Name: name, Size: size.Bytes(len(content)), SHA256: digest.Of(content)})
	}
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	add(manifest.FileName, encoded)
	add("report.md", []byte("report"))
	add(ProofName, proofOf(m, "usr.bin", "vmlinuz"))
	put(sums.FileName, []byte(list.String()))
	var armored bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&armored, keys.openpgp, strings.NewReader(list.String()), nil); err != nil {
		t.Fatal(err)
	}
	put(OpenPGPName, armored.Bytes())
	put(SysupdateName, armored.Bytes())
	reader := minisign.NewReader(strings.NewReader(list.String()))
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Fatal(err)
	}
	put(MinisignName, reader.Sign(keys.minisign))
	return dir
}

func TestRelease(t *testing.T) {
	keys := newKeys(t)
	read := &bytes.Buffer{}
	result, err := Release(t.Context(), Directory(signedRelease(t, keys)), keys.public, time.Now(), read)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Faults) != 0 || result.Manifest.Version != "1.2.3" || len(result.Files) != 10 {
		t.Errorf("result is %+v", result)
	}
	if diff := cmp.Diff([]string{OpenPGPName, SysupdateName, MinisignName}, result.Signed); diff != "" {
		t.Error(diff)
	}
	var total size.Bytes
	for _, f := range result.Files {
		total += f.Size
	}
	if total != size.Bytes(read.Len()) {
		t.Errorf("was told of %d bytes; wanted %d", read.Len(), total)
	}
}

// proofOf is a proof of the files that it names.
func proofOf(m *manifest.Manifest, files ...string) []byte {
	booted := map[string]digest.SHA256{}
	for _, name := range files {
		booted[name] = m.File(name).SHA256
	}
	encoded, err := json.Marshal(map[string]any{
		"version": m.Version, "arch": m.Arch, "booted": booted,
		"machines": []any{map[string]any{"platform": "a", "outcomes": []any{map[string]string{"assertion": "the system is up"}}}},
	})
	if err != nil {
		panic(err)
	}
	return encoded
}

// TestOneBadByte changes one byte of each file, and one after the other that file must be named, alone.
func TestOneBadByte(t *testing.T) {
	keys := newKeys(t)
	dir := signedRelease(t, keys)
	names, err := Directory(dir).Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, len(good) / 2, len(good) - 1} {
			bad := bytes.Clone(good)
			bad[at] ^= 1
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			result, err := Release(t.Context(), Directory(dir), keys.public, time.Now(), nil)
			if err != nil {
				t.Fatal(err)
			}
			// What is wrong with the sums shows in all that depends on them. Armor has bytes that say nothing, such as its last one.
			named := strings.Contains(strings.Join(result.Faults, "\n"), name)
			alone := len(result.Faults) == 1 || name == sums.FileName || name == manifest.FileName
			harmless := (name == OpenPGPName || name == SysupdateName) && at == len(good)-1 || name == MinisignName && at == len(good)-1 || name == MinisignName && at == 0
			if !harmless && (!named || !alone) {
				t.Errorf("byte %d of %s: %q", at, name, result.Faults)
			}
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFaults(t *testing.T) {
	keys, stranger := newKeys(t), newKeys(t)
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
	}
	put := func(name, content string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644) }
	}
	content := bytes.Repeat([]byte("vmlinuz"), 1000)
	right := string(proofOf(&manifest.Manifest{Version: "1.2.3", Arch: "amd64", Files: []manifest.File{{Name: "vmlinuz", SHA256: digest.Of(content)}}}, "vmlinuz"))
	// proves puts another proof into a release and its sums.
	proves := func(text string) func(string) error {
		return func(dir string) error {
			old, err := os.ReadFile(filepath.Join(dir, ProofName))
			if err != nil {
				return err
			}
			list, err := os.ReadFile(filepath.Join(dir, sums.FileName))
			if err != nil {
				return err
			}
			list = bytes.Replace(list, []byte(digest.Of(old).String()), []byte(digest.Of([]byte(text)).String()), 1)
			return errors.Join(put(sums.FileName, string(list))(dir), put(ProofName, text)(dir))
		}
	}
	for name, test := range map[string]struct {
		change func(dir string) error
		keys   Keys
		says   []string // beginnings
	}{
		"file is missing":      {remove("usr.bin"), keys.public, []string{"usr.bin is missing"}},
		"file too much":        {put("evil.sh", "x"), keys.public, []string{"evil.sh is not in SHA256SUMS"}},
		"no sums":              {remove(sums.FileName), keys.public, []string{"SHA256SUMS is missing"}},
		"no manifest":          {remove(manifest.FileName), Keys{}, []string{"manifest.json is missing"}},
		"no signature":         {remove(OpenPGPName), keys.public, []string{"SHA256SUMS.asc is missing, but a key for it was given"}},
		"no minisign":          {remove(MinisignName), keys.public, []string{"SHA256SUMS.minisig is missing"}},
		"signature not wanted": {remove(OpenPGPName), Keys{}, nil},
		"another's signature":  {func(string) error { return nil }, stranger.public, []string{"SHA256SUMS.asc: no good signature", "SHA256SUMS.gpg: no good signature", "SHA256SUMS.minisig: signed by key"}},
		"huge signature":       {put(OpenPGPName, strings.Repeat("x", 70_000)), Keys{}, []string{"SHA256SUMS.asc is longer than 65536 B"}},
		"empty sums":           {put(sums.FileName, ""), Keys{}, []string{"SHA256SUMS is truncated: no line break"}},
		"sums and manifest differ": {func(dir string) error {
			content := []byte("another")
			list, err := os.ReadFile(filepath.Join(dir, sums.FileName))
			if err != nil {
				return err
			}
			changed := strings.Replace(string(list), digest.Of(bytes.Repeat([]byte("usr.bin"), 1000)).String(), digest.Of(content).String(), 1)
			if err := os.WriteFile(filepath.Join(dir, "usr.bin"), content, 0o644); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, sums.FileName), []byte(changed), 0o644)
		}, Keys{}, []string{"usr.bin has 7 B and sha256"}},
		"proof without a sum":      {put(TamperProofName, "{}"), keys.public, []string{"proof-tamper.json is not in SHA256SUMS"}},
		"proof of nothing":         {proves("{}"), Keys{}, []string{"proof.json is about 0 machines"}},
		"no proof":                 {proves("?"), Keys{}, []string{"proof.json is not a proof"}},
		"proof of another release": {proves(strings.Replace(right, "1.2.3", "1.2.4", 1)), Keys{}, []string{`proof.json is about 1 machines with 1 files of release "1.2.4"`}},
		"proof of another file":    {proves(strings.Replace(right, `"vmlinuz"`, `"usr.bin"`, 1)), Keys{}, []string{"proof.json is about a different usr.bin"}},
		"a machine that failed": {proves(strings.Replace(right, `"platform":`, `"error":"no answer","platform":`, 1)), Keys{},
			[]string{"proof.json: the machine of a did not answer: no answer"}},
		"an assertion that failed": {proves(strings.Replace(right, `"assertion":`, `"error":"it is down","assertion":`, 1)), Keys{},
			[]string{"proof.json: a: FAILED: the system is up: it is down"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := signedRelease(t, keys)
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			result, err := Release(t.Context(), Directory(dir), test.keys, time.Now(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(result.Faults) != len(test.says) {
				t.Fatalf("faults are %q", result.Faults)
			}
			for i, says := range test.says {
				if !strings.HasPrefix(result.Faults[i], says) {
					t.Errorf("fault is %q; wanted %q", result.Faults[i], says)
				}
			}
		})
	}
}

func TestDirectoryRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "usr.bin")); err != nil {
		t.Fatal(err)
	}
	if _, err := Release(t.Context(), Directory(dir), Keys{}, time.Now(), nil); err == nil || !strings.Contains(err.Error(), "usr.bin is not a regular file") {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Release(ctx, Directory(signedRelease(t, newKeys(t))), Keys{}, time.Now(), nil); err == nil {
		t.Error("goes on when cancelled")
	}
}
