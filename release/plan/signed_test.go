package plan

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

	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

func TestImageKind(t *testing.T) {
	for _, c := range []struct {
		asked   ImageKind
		systemd string
		want    ImageKind
	}{
		{"", "255.8", BareImages},
		{"", "257.13", BareImages},
		{"", "258", SignedImages},
		{"", "258~rc1", SignedImages},
		{"", "262", SignedImages},
		{BareImages, "262", BareImages},
		{SignedImages, "257.13", SignedImages},
		{SignedImages, "", SignedImages},
	} {
		w := &workshop{Options: Options{Kind: c.asked}, base: base.Base{Systemd: c.systemd}}
		if got, err := w.imageKind(); got != c.want || err != nil {
			t.Errorf("IMAGES=%s for systemd %s: %s, %v; want %s", c.asked, c.systemd, got, err, c.want)
		}
	}
	for kind, systemd := range map[ImageKind]string{"": "", "ddi": "262"} {
		w := &workshop{Options: Options{Kind: kind}, base: base.Base{Systemd: systemd}}
		if got, err := w.imageKind(); err == nil || !strings.Contains(err.Error(), "IMAGES") {
			t.Errorf("IMAGES=%s for systemd %q: %s, %v", kind, systemd, got, err)
		}
	}
}

// Every image that is embedded verifies by the certificate that is embedded beside it, and by no other one.
func TestSignedImages(t *testing.T) {
	w := signing(t, func(*Options) {})
	_, empty, plan, err := w.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	made, err := w.embed(t.Context(), empty, plan.images)
	if err != nil {
		t.Fatal(err)
	}
	err = btrfs.View(t.Context(), w.blobs.Path(made.SHA256), func(usr string) error {
		certificate := certificateIn(t, filepath.Join(usr, certificateFile))
		other := otherCertificate(t)
		for _, image := range plan.images {
			disk := openDDI(t, filepath.Join(usr, embed.Dir, image.file()))
			if err := disk.Verify(t.Context(), []*x509.Certificate{certificate}); err != nil {
				t.Errorf("%s: %v", image.Name, err)
			}
			if err := disk.Verify(t.Context(), []*x509.Certificate{other}); err == nil {
				t.Errorf("%s verifies by a certificate that it was not signed with", image.Name)
			}
			if image.RootHash.IsZero() || image.Cost == 0 {
				t.Errorf("%s has the root hash %v, %v and takes %v", image.Name, image.RootHash, image.Size, image.Cost)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, whole := range plan.whole {
		if err := openDDI(t, w.blobs.Path(whole.SHA256)).Verify(t.Context(), []*x509.Certificate{w.imageKey.Certificate()}); err != nil {
			t.Errorf("what %s keeps on its OEM partition: %v", w.chosen[i].ID.Value, err)
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
	w := signing(t, func(o *Options) { o.Extensions = sign.Files{Key: certificate, Signatures: signatures} })
	_, _, _, err = w.plan(t.Context())
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
	for _, p := range w.chosen {
		if !strings.Contains(string(request), p.Image()+".raw") {
			t.Errorf("%s is not asked for in\n%s", p.Image(), request)
		}
	}
}

// signing opens a workshop for two platforms whose images are to be signed.
func signing(t *testing.T, change func(*Options)) *workshop {
	t.Helper()
	needs.Root(t)
	needs.Programs(t, append(base.Programs(), "go")...)
	o := options(t, toolroottest.Cache(t), t.TempDir())
	o.Platforms, o.Kind = []string{"hetzner", "scaleway"}, SignedImages
	change(&o)
	w, err := open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
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
