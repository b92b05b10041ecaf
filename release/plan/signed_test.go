package plan_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"

	"io"
	"os"
	"path"
	"path/filepath"

	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// Every image that is embedded verifies by the certificate that is embedded beside it, and by no other one.
func TestSignedImages(t *testing.T) {
	w := signing(t, func(*setup.Options) {})
	planned, err := w.Planner().Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	made, err := partition.Embed(t.Context(), w.Bench, w.Base, planned.Flat, planned.Content)
	if err != nil {
		t.Fatal(err)
	}
	err = btrfs.View(t.Context(), w.Bench.Blobs.Path(made.SHA256), func(usr string) error {
		certificate := certificateIn(t, filepath.Join(usr, partition.CertificateFile))
		other := otherCertificate(t)
		for _, image := range planned.Images {
			disk := openDDI(t, filepath.Join(usr, embed.Dir, image.File()))
			if err := disk.Verify(t.Context(), []*x509.Certificate{certificate}); err != nil {
				t.Errorf("%s: %v", image.Name, err)
			}
			if err := disk.Verify(t.Context(), []*x509.Certificate{other}); err == nil {
				t.Errorf("%s verifies by a certificate that it was not signed with", image.Name)
			}
			if image.Packed.RootHash.IsZero() || image.Cost == 0 {
				t.Errorf("%s has the root hash %v, %v and takes %v", image.Name, image.Packed.RootHash, image.Packed.Size, image.Cost)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, whole := range planned.Whole {
		if err := openDDI(t, w.Bench.Blobs.Path(whole.SHA256)).Verify(t.Context(), []*x509.Certificate{w.Keys.Image.Certificate()}); err != nil {
			t.Errorf("what %s keeps on its OEM partition: %v", w.Choice.Chosen[i].ID.Value, err)
		}
	}
}

// With a key that is elsewhere all signatures that are missing are asked for at once, and nothing is embedded.
func TestImagesAreSignedElsewhere(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, certificate := filepath.Join(dir, "key.pem"), filepath.Join(dir, "certificate.pem")
	writePEM(t, key, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private))
	here, err := sign.Open(sign.Files{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, certificate, "CERTIFICATE", here.Certificate().Raw)
	signatures := filepath.Join(dir, "signatures")
	if err := os.Mkdir(signatures, 0o755); err != nil {
		t.Fatal(err)
	}
	w := signing(t, func(o *setup.Options) { o.SysextKey, o.SysextSignatures = certificate, signatures })
	_, err = w.Planner().Plan(t.Context())
	if err == nil || !strings.Contains(err.Error(), "openssl") {
		t.Fatalf("error is %v", err)
	}
	requests, err := filepath.Glob(filepath.Join(signatures, "*.json"))
	if err != nil || len(requests) != 1 {
		t.Fatalf("requests are %v, %v", requests, err)
	}
	request, err := os.ReadFile(requests[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range w.Choice.Chosen {
		if !strings.Contains(string(request), p.Image()+".raw") {
			t.Errorf("%s is not asked for in\n%s", p.Image(), request)
		}
	}
}

// signing opens a base for two platforms whose images are to be signed.
func signing(t *testing.T, change func(*setup.Options)) *release.Run {
	t.Helper()
	testrelease.Needs(t)
	o := testrelease.Fresh(t)
	o.Platforms, o.Kind = []string{"hetzner", "scaleway"}, setup.SignedImages
	change(&o)
	w, err := release.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Bench.Close)
	return w
}

func openDDI(t *testing.T, path string) *ddi.Disk {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	length, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := ddi.Read(f, length)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return disk
}

func certificateIn(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		t.Fatalf("%s is not PEM", path.Base(file))
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func otherCertificate(t *testing.T) *x509.Certificate {
	t.Helper()
	other, err := sign.Open(sign.Files{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return other.Certificate()
}

func writePEM(t *testing.T, path, kind string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
		t.Fatal(err)
	}
}
