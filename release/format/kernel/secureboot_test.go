package kernel

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/format/sign"
)

// TestSign signs a small PE file whose length is odd, and the kernels of reference bases that the cache has.
// sbverify judges, and takes what sbsign makes of the same kernel.
func TestSign(t *testing.T) {
	tools := toolroottest.Judges(t)
	dir := t.TempDir()
	signer := openSigner(t, dir)
	certificate := filepath.Join(dir, "certificate.pem")
	must(t, os.WriteFile(certificate, sign.EncodeCertificate(signer.Certificate()), 0o600))
	verify := func(path string) error {
		return tools.Run(t.Context(), toolroot.Cmd{Program: "sbverify", Args: []string{"--cert", certificate, path}, Read: []string{dir}})
	}
	kernels := map[string][]byte{"small": append(smallPE(), 1, 2, 3)}
	cached, err := filepath.Glob(filepath.Join(toolroottest.Cache(t), "base-trixie-*", "vmlinuz"))
	must(t, err)
	for _, path := range cached {
		kernels[filepath.Base(filepath.Dir(path))], err = os.ReadFile(path)
		must(t, err)
	}
	for name, content := range kernels {
		t.Run(name, func(t *testing.T) {
			f := newOnDisk(t, filepath.Join(dir, name), content)
			if _, err := StripSignature(f, f.length(t)); err != nil {
				t.Fatal(err)
			}
			bare := f.content(t)
			must(t, Sign(t.Context(), f, f.length(t), "vmlinuz", signer))
			signed := f.content(t)
			if err := verify(f.Name()); err != nil {
				t.Fatal(err)
			}
			if is, err := Signed(f, f.length(t)); err != nil || !is {
				t.Errorf("signed: %v, %v", is, err)
			}
			err := Sign(t.Context(), f, f.length(t), "vmlinuz", signer)
			if err == nil || !strings.Contains(err.Error(), "strip the one that it has") {
				t.Errorf("got %v; wanted a second signature to be refused", err)
			}

			_, err = f.WriteAt([]byte{signed[len(bare)-10] ^ 1}, int64(len(bare)-10))
			must(t, err)
			if verify(f.Name()) == nil {
				t.Error("sbverify accepts a changed kernel")
			}

			must(t, f.Truncate(0))
			_, err = f.WriteAt(bare, 0)
			must(t, err)
			must(t, Sign(t.Context(), f, f.length(t), "vmlinuz", signer))
			if !bytes.Equal(signed, f.content(t)) {
				t.Error("the same kernel and key give other bytes")
			}
			stripped, err := StripSignature(f, f.length(t))
			if padded := f.content(t); err != nil || !stripped || len(padded)-len(bare) > 7 {
				t.Errorf("stripped: %v, %v, %d B; wanted %d B and at most 7 more", stripped, err, len(padded), len(bare))
			}

			key, theirs := filepath.Join(dir, "development-key/key.pem"), filepath.Join(dir, name+".sbsign")
			must(t, os.WriteFile(f.Name(), bare, 0o600))
			must(t, tools.Run(t.Context(), toolroot.Cmd{
				Program: "sbsign", Args: []string{"--key", key, "--cert", certificate, "--output", theirs, f.Name()}, Write: []string{dir},
			}))
			must(t, verify(theirs))
		})
	}
}

func TestSignRefuses(t *testing.T) {
	signer := openSigner(t, t.TempDir())
	for name, test := range map[string]struct {
		content []byte
		signer  Signer
		want    string
	}{
		"no certificate": {smallPE(), later{}, "needs the certificate"},
		"not yet":        {smallPE(), later{signer.Certificate()}, "later"},
		"no PE file":     {[]byte(strings.Repeat("no kernel ", 100)), signer, "wanted a PE file without"},
		"signed":         {signedKernel(4096, 64), signer, "strip the one that it has"},
		"a gap":          {gapPE(), signer, "a section has bytes 1024 to 1535; wanted it to begin at byte 512"},
		"cut":            {smallPE()[:700], signer, "a section has bytes 512 to 1023; wanted it to begin at byte 512 and to end within 700"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(test.content)
			err := Sign(t.Context(), f, f.length(), "vmlinuz", test.signer)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got the error %v\nwanted one with   %s", err, test.want)
			}
			if !bytes.Equal(f.content, test.content) {
				t.Error("the file has changed")
			}
		})
	}
}

// smallPE has headers of 512 bytes and one section of as many.
func smallPE() []byte { return peWith(512) }

func gapPE() []byte { return append(peWith(1024), make([]byte, 512)...) }

func peWith(section uint32) []byte {
	k := make([]byte, 1024)
	copy(k, "MZ")
	putPE(k, 64, 0x8664, [][2]uint32{{section, 512}})
	k[64+coffLength+60+1] = 2 // 512 bytes of headers
	return k
}

// later is a signer whose key is elsewhere.
type later struct{ certificate *x509.Certificate }

func (l later) Certificate() *x509.Certificate { return l.certificate }
func (later) Sign(context.Context, string, digest.SHA256) ([]byte, error) {
	return nil, errors.New("later")
}

type onDisk struct{ *os.File }

func newOnDisk(t *testing.T, path string, content []byte) onDisk {
	t.Helper()
	must(t, os.WriteFile(path, content, 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	return onDisk{f}
}

func (f onDisk) length(t *testing.T) size.Bytes { return size.Bytes(len(f.content(t))) }

func (f onDisk) content(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile(f.Name())
	must(t, err)
	return content
}

func openSigner(t *testing.T, cache string) *sign.Signer {
	t.Helper()
	signer, err := sign.Open(sign.Files{Cache: cache})
	must(t, err)
	return signer
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
