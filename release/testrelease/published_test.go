package testrelease

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/flatcar/flatcartest"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/ddi"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/payload"
	"github.com/flatcar/oem-sysext/release/format/payload/chunks"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan/compose/extension/extensiontest"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/ship/sbom"
)

// flatcarRelease is a base with what Flatcar publishes beside it.
type flatcarRelease struct {
	base   string       // the partition
	signer *sign.Signer // the base has its certificate and its public key
}

func newFlatcarRelease(t *testing.T) flatcarRelease {
	t.Helper()
	signer, err := sign.Open(sign.Files{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	public, err := sign.EncodePublic(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	usr := goldenUsr(t, flatcartest.Version)
	for name, content := range map[string][]byte{
		"share/update_engine/update-payload-key.pub.pem": public,
		"lib/verity.d/flatcar.crt":                       sign.EncodeCertificate(signer.Certificate()),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(usr, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(usr, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return flatcarRelease{goldenBase(t, usr), signer}
}

// toolsImage makes an image of a platform's tools, as Flatcar does.
func (f flatcarRelease) toolsImage(t *testing.T, name, release string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".raw")
	extensiontest.Image(t, toolroottest.Open(t), extensiontest.EROFS, path,
		dir("usr"), dir("usr/bin"), dir("usr/lib"), dir("usr/lib/extension-release.d"),
		extensiontest.Entry{Path: "usr/lib/extension-release.d/extension-release." + name, Content: release},
		extensiontest.Entry{Path: "usr/bin/" + name + "-agent", Mode: 0o755, Content: "#!/bin/sh\necho " + strings.Repeat(name, 9000)},
	)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func dir(path string) extensiontest.Entry { return extensiontest.Entry{Path: path, Type: tar.TypeDir} }

// signedDisk makes a DDI of an image.
func (f flatcarRelease) signedDisk(t *testing.T, image []byte, by *sign.Signer) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	_, err := ddi.Write(t.Context(), path, ddi.Image{
		Name: "oem", Data: bytes.NewReader(image), Size: int64(len(image)), SHA256: digest.Of(image), Arch: arch.AMD64,
	}, by)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// payloadOf makes an update payload of an image.
func (f flatcarRelease) payloadOf(t *testing.T, image []byte, by *sign.Signer) []byte {
	t.Helper()
	var out bytes.Buffer
	w := payload.Writer{Compress: chunks.Compressor{Tools: toolroottest.Open(t)}.Compress, Scratch: t.TempDir(), Jobs: 1}
	if _, err := w.Write(t.Context(), &out, by.Public(), payload.Source{Data: bytes.NewReader(image), Size: size.Bytes(len(image))}, nil); err != nil {
		t.Fatal(err)
	}
	signatures, err := payload.Signatures(t.Context(), by, "oem", digest.Of(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), signatures...)
}

// publish puts a file beside the base.
func (f flatcarRelease) publish(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(f.base), name), content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// threePlatforms adds two platforms to a small checkout.
func threePlatforms(t *testing.T) string {
	t.Helper()
	dir := goldenCheckout(t)
	for _, id := range []string{"azure", "qemu"} {
		content := "id: " + id + "\nname: " + id + "\nhomepage: https://example.org\nkernel_id: " + id + "\narches: [amd64]\n" +
			"recipes: [tool]\nactive_units: [missing.service]\ndetect: [{dmi: {sys_vendor: " + id + "}}]\n"
		if err := os.WriteFile(filepath.Join(dir, "platforms", id+".yaml"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const ofRelease = "ID=flatcar\nVERSION_ID=" + flatcartest.Version + "\nARCHITECTURE=x86-64\n"

// Images that Flatcar published with the base are embedded byte for byte, or their files are, beside tools that come from recipes.
func TestToolsOfFlatcarsImages(t *testing.T) {
	Needs(t)
	f := newFlatcarRelease(t)
	azure, qemu := f.toolsImage(t, "oem-azure", ofRelease), f.toolsImage(t, "oem-qemu", ofRelease)
	disk := f.signedDisk(t, azure, f.signer)
	f.publish(t, "oem-azure.raw", disk)
	f.publish(t, "oem-qemu.gz", f.payloadOf(t, qemu, f.signer))

	o := Fresh(t)
	o.Checkout, o.BaseID, o.Version = threePlatforms(t), f.base, ""
	profile := filepath.Join(o.Checkout, profiles.Dir, "default.yaml")
	content, err := os.ReadFile(profile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(profile, append(content, "oem: {upstream: [azure], repacked: [qemu]}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := release.Assemble(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	o.Version = m.Version
	origins := map[string]string{}
	for _, p := range m.Platforms {
		origins[p.ID] = p.Origin
	}
	if origins["azure"] != "upstream" || origins["qemu"] != "repacked" || origins["vagrant"] != "" {
		t.Errorf("origins are %v", origins)
	}
	sameAs(t, filepath.Join(o.Dir(), "oem-azure.raw"), disk)
	if payloads := m.Payloads[1]; payloads.Platform != "azure" || payloads.Image.SHA256 != digest.Of(disk) || payloads.Rung != nil {
		t.Errorf("the payload of azure is %+v; wanted Flatcar's image in it", payloads)
	}
	judgeEmbedded(t, filepath.Join(o.Dir(), manifest.PartitionFile), map[string]digest.SHA256{"oem-azure.raw": digest.Of(disk)})
	for _, image := range m.Images {
		if image.Name != "oem-qemu" {
			continue
		}
		var paths []string
		for _, c := range image.Contents {
			paths = append(paths, c.Path)
		}
		if !strings.Contains(strings.Join(paths, " "), "/usr/bin/oem-qemu-agent") || image.Rung.Filesystem == "" || image.SHA256 == digest.Of(qemu) {
			t.Errorf("oem-qemu is %+v with %v; wanted Flatcar's files, packed anew", image, paths)
		}
	}
	document, err := os.ReadFile(filepath.Join(o.Dir(), sbom.ReleaseName))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(document), digest.Of(disk).String()) {
		t.Error("the SBOM does not have Flatcar's image")
	}
}

func sameAs(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes (%v); wanted the %d that were published", path, len(got), err, len(want))
	}
}

// judgeEmbedded compares images in a partition, as the kernel reads them.
func judgeEmbedded(t *testing.T, partition string, want map[string]digest.SHA256) {
	t.Helper()
	err := btrfs.View(t.Context(), partition, func(usr string) error {
		for name, sum := range want {
			if got, _, err := digest.OfFile(filepath.Join(usr, embed.Dir, name)); err != nil || got != sum {
				t.Errorf("%s in /usr has sha256 %v, %v; wanted %v", name, got, err, sum)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An image that is not the base's is refused, with its name and what to do.
func TestWrongImagesOfFlatcar(t *testing.T) {
	Needs(t)
	f := newFlatcarRelease(t)
	stranger, err := sign.Open(sign.Files{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	good := f.toolsImage(t, "oem-vagrant", ofRelease)
	cut := f.payloadOf(t, good, f.signer)
	o := Fresh(t)
	o.Checkout, o.BaseID, o.Version, o.OEM = SmallCheckout(t), f.base, "", profiles.Upstream
	for name, c := range map[string]struct {
		file    string
		content []byte
		want    string
	}{
		"none":                {"README", nil, "was not published with the base"},
		"another release":     {"oem-vagrant.raw", f.toolsImage(t, "oem-vagrant", strings.Replace(ofRelease, "4593.2.1", "4593.2.0", 1)), "was built for VERSION_ID=4593.2.0"},
		"another board":       {"oem-vagrant.raw", f.toolsImage(t, "oem-vagrant", strings.Replace(ofRelease, "x86-64", "arm64", 1)), "ARCHITECTURE=arm64"},
		"another platform":    {"oem-vagrant.raw", f.toolsImage(t, "oem-azure", ofRelease), "extension-release.oem-vagrant"},
		"another certificate": {"oem-vagrant.raw", f.signedDisk(t, good, stranger), "signature"},
		"another key":         {"oem-vagrant.gz", f.payloadOf(t, good, stranger), "bad signature"},
		"a cut payload":       {"oem-vagrant.gz", cut[:len(cut)-1], "oem-vagrant.gz"},
		"no signature":        {"oem-vagrant.raw", good, "is not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, old := range []string{"oem-vagrant.raw", "oem-vagrant.gz", "oem-vagrant.raw.sig"} {
				os.Remove(filepath.Join(filepath.Dir(f.base), old))
			}
			f.publish(t, c.file, c.content)
			_, err := release.Fit(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "oem-vagrant") || !strings.Contains(err.Error(), "OEM=recipes") {
				t.Errorf("error is %v; wanted one with %q", err, c.want)
			}
		})
	}
}

// A reference base has no images of Flatcar's.
func TestReferenceBaseHasNoPublishedImages(t *testing.T) {
	o := Made(t).Options
	o.OEM, o.Platforms = profiles.Upstream, []string{"hetzner"}
	if _, err := release.Fit(t.Context(), o); err == nil || !strings.Contains(err.Error(), "set BASE to a release of Flatcar") {
		t.Errorf("error is %v", err)
	}
	if _, err := release.Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "OEM=recipes") {
		t.Errorf("error is %v", err)
	}
}
