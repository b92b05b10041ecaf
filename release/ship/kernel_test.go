package ship

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/kernel"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/setup"
)

// TestKernelIsSignedAgain signs with a key, then with one that is elsewhere and has not signed yet.
func TestKernelIsSignedAgain(t *testing.T) {
	root := digest.Of([]byte("a partition"))
	key, err := sign.Open(sign.Files{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := &Shipper{
		Bench: &setup.Bench{Log: slog.New(slog.DiscardHandler)}, Base: &bases.Base{Arch: arch.AMD64}, Keys: &setup.Keys{Boot: key},
	}
	path := flatcartest.Kernel(t, digest.Of([]byte("another partition")))
	for range 2 { // the second time the signature of the first one is there
		told, err := s.fillKernel(t.Context(), path, root)
		if err != nil || told.RootHash != manifest.InKernel || told.SignedBy != digest.Of(key.Certificate().Raw) {
			t.Fatalf("%+v, %v", told, err)
		}
		// Whether there is a signature is said by taking it off, of a copy.
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := os.Create(filepath.Join(t.TempDir(), "signed"))
		if err != nil {
			t.Fatal(err)
		}
		defer signed.Close()
		_, err = signed.Write(content)
		got, hashErr := kernel.RootHash(signed, arch.AMD64)
		had, stripErr := kernel.StripSignature(signed, size.Bytes(len(content)))
		if err := errors.Join(err, hashErr, stripErr); err != nil || !had || got != root {
			t.Errorf("signed is %v, root hash %v, %v", had, got, err)
		}
	}
	certificate := filepath.Join(t.TempDir(), "certificate")
	if err := os.WriteFile(certificate, sign.EncodeCertificate(key.Certificate()), 0o644); err != nil {
		t.Fatal(err)
	}
	if s.Keys.Boot, err = sign.Open(sign.Files{Key: certificate, Certificate: certificate, Signatures: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	_, err = s.fillKernel(t.Context(), path, digest.Of([]byte("a third one")))
	if request := (*sign.RequestError)(nil); !errors.As(err, &request) {
		t.Errorf("error is %v; want a request for the signature", err)
	}
	s.Keys.Boot = nil
	if told, err := s.fillKernel(t.Context(), path, root); err != nil || !told.SignedBy.IsZero() {
		t.Errorf("without a key: %+v, %v", told, err)
	}
}
