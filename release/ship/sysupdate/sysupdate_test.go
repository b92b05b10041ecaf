package sysupdate

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// testManifest has one platform with an image of a few bytes.
func testManifest(version, systemd string) (*manifest.Manifest, []byte) {
	m := &manifest.Manifest{
		Version: version, Arch: "amd64", Base: manifest.Base{Systemd: systemd, VersionID: strings.SplitN(version, "+", 2)[0]},
		Platforms: []manifest.Platform{{ID: "azure", Name: "Azure: \"cloud\"\n[Target]"}, {ID: "none", Name: "Without an image"}},
	}
	content := []byte("image of " + version)
	m.Add(manifest.File{Name: ImageName("oem-azure", m), Size: size.Bytes(len(content)), SHA256: digest.Of(content)})
	return m, content
}

// snippet is what the schema of Butane's variant flatcar 1.0.0 has of what we use. There, too, unknown keys are errors.
type snippet struct {
	Variant string `yaml:"variant"`
	Version string `yaml:"version"`
	Storage struct {
		Files []struct {
			Path     string `yaml:"path"`
			Mode     int    `yaml:"mode"`
			Contents struct {
				Source       string `yaml:"source"`
				Inline       string `yaml:"inline"`
				Verification struct {
					Hash string `yaml:"hash"`
				} `yaml:"verification"`
			} `yaml:"contents"`
		} `yaml:"files"`
		Links []struct {
			Path   string `yaml:"path"`
			Target string `yaml:"target"`
			Hard   bool   `yaml:"hard"`
		} `yaml:"links"`
	} `yaml:"storage"`
}

func TestFiles(t *testing.T) {
	m, content := testManifest("9999.0.0+nightly-20260102-0304", "257.9")
	files, err := Files(m, "https://example.org/releases/", "9999.0.0+nightly-20260102-0304-amd64")
	if err != nil || len(files) != 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var s snippet
	decoder := yaml.NewDecoder(bytes.NewReader(files["oem-azure.butane.yaml"]))
	decoder.KnownFields(true)
	if err := decoder.Decode(&s); err != nil {
		t.Fatal(err)
	}
	image := "oem-azure-9999.0.0_nightly-20260102-0304-x86-64.raw"
	got := []string{s.Variant, s.Version}
	for _, f := range s.Storage.Files {
		got = append(got, fmt.Sprintf("%s %o", f.Path, f.Mode), f.Contents.Source, f.Contents.Verification.Hash)
	}
	for _, l := range s.Storage.Links {
		got = append(got, l.Path+" -> "+l.Target)
	}
	want := []string{
		"flatcar", "1.0.0",
		"/opt/extensions/oem-azure/" + image + " 644", "https://example.org/releases/download/9999.0.0+nightly-20260102-0304-amd64/" + image, "sha256-" + digest.Of(content).String(),
		"/etc/sysupdate.oem-azure.d/oem-azure.transfer 644", "", "",
		"/etc/extensions/oem-azure.raw -> /opt/extensions/oem-azure/" + image,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(string(files["oem-azure.transfer"]), s.Storage.Files[1].Contents.Inline); diff != "" {
		t.Error(diff)
	}
	old, _ := testManifest("1.2.3", "255")
	if files, err := Files(old, DefaultAddress, "x"); err != nil || files["oem-azure.conf"] == nil {
		t.Errorf("for an older systemd: %v", err)
	}
}

// publish serves a version as GitHub does, its sums signed by the key.
func publish(t *testing.T, dir string, key *openpgp.Entity, m *manifest.Manifest, content []byte) {
	t.Helper()
	var armored bytes.Buffer
	sums := fmt.Sprintf("%v  %s\n", digest.Of(content), ImageName("oem-azure", m))
	if err := openpgp.ArmoredDetachSign(&armored, key, strings.NewReader(sums), nil); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{ImageName("oem-azure", m): content, "SHA256SUMS": []byte(sums), "SHA256SUMS.gpg": armored.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// machine is a directory with the /etc and /opt of one, and the programs that it runs.
type machine struct {
	dir    string
	judges *toolroot.Root
}

func newMachine(t *testing.T, key *openpgp.Entity) machine {
	t.Helper()
	m := machine{t.TempDir(), toolroottest.Judges(t)}
	if out, err := exec.CommandContext(t.Context(), "cp", "--archive", m.judges.Path("etc"), m.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var public bytes.Buffer
	if err := key.Serialize(&public); err != nil {
		t.Fatal(err)
	}
	m.put(t, "etc/systemd/import-pubring.gpg", public.Bytes())
	m.put(t, "opt/.keep", nil)
	m.put(t, "etc/extensions/.keep", nil)
	return m
}

func (m machine) put(t *testing.T, name string, content []byte) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// update runs systemd's own program with the network of this machine.
func (m machine) update(t *testing.T) error {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bwrap", "--ro-bind", m.judges.Path("usr"), "/usr",
		"--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin",
		"--bind", filepath.Join(m.dir, "etc"), "/etc", "--bind", filepath.Join(m.dir, "opt"), "/opt",
		"--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/var", "--tmpfs", "/run", "--die-with-parent",
		"/usr/lib/systemd/systemd-sysupdate", "--component=oem-azure", "update")
	out, err := command.CombinedOutput()
	t.Logf("%s", out)
	return err
}

// active returns what the link says that is merged has.
func (m machine) active(t *testing.T) string {
	t.Helper()
	target, err := os.Readlink(filepath.Join(m.dir, "etc/extensions/oem-azure.raw"))
	if err != nil {
		return ""
	}
	content, err := os.ReadFile(filepath.Join(m.dir, "etc/extensions", target))
	if filepath.IsAbs(target) {
		content, err = os.ReadFile(filepath.Join(m.dir, target))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestSystemdTakesIt lets systemd-sysupdate install the image of the release that a machine runs, then that of the next one after an update,
// and refuse one that is not what was signed.
func TestSystemdTakesIt(t *testing.T) {
	key, err := openpgp.NewEntity("Release", "", "release@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoRSA})
	if err != nil {
		t.Fatal(err)
	}
	machine := newMachine(t, key)
	served := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(served)))
	defer server.Close()
	serve := func(version string, key *openpgp.Entity) (dir string, content []byte) {
		m, content := testManifest(version, "257.9")
		dir = filepath.Join(served, "download", version+"-amd64")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		publish(t, dir, key, m, content)
		return dir, content
	}
	if err := os.Remove(filepath.Join(machine.dir, "etc/os-release")); err != nil { // a link to that of the programs
		t.Fatal(err)
	}
	runs := func(version string) { machine.put(t, "etc/os-release", []byte("ID=flatcar\nVERSION_ID="+version+"\n")) }
	define := func(version string) {
		m, _ := testManifest(version, "257.9")
		files, err := Files(m, server.URL, version+"-amd64")
		if err != nil {
			t.Fatal(err)
		}
		machine.put(t, "etc/sysupdate.oem-azure.d/oem-azure.transfer", files["oem-azure.transfer"])
	}
	for _, version := range []string{"9999.0.0", "9999.0.1"} {
		_, content := serve(version, key)
		if version == "9999.0.0" {
			define(version)
			serve("9999.0.9", key) // the newest release is not what the machine runs
		}
		runs(version)
		if err := machine.update(t); err != nil {
			t.Fatal(err)
		}
		if got := machine.active(t); got != string(content) {
			t.Fatalf("running %s the machine has %q", version, got)
		}
	}
	const nightly = "9999.0.2+nightly-20260102-0304"
	_, content := serve(nightly, key)
	define(nightly)
	runs("9999.0.2")
	if err := machine.update(t); err != nil || machine.active(t) != string(content) {
		t.Fatalf("running a nightly the machine has %q, %v", machine.active(t), err)
	}
	define("9999.0.0")
	before := machine.active(t)
	runs("9999.0.3")
	dir, content := serve("9999.0.3", key)
	m, _ := testManifest("9999.0.3", "257.9")
	if err := os.WriteFile(filepath.Join(dir, ImageName("oem-azure", m)), []byte("another of 9999.0.3"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := machine.update(t); err == nil || machine.active(t) != before {
		t.Errorf("it takes an image that is not in the sums: %v, %q", err, machine.active(t))
	}
	stranger, err := openpgp.NewEntity("Stranger", "", "stranger@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoRSA})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, dir, stranger, m, content)
	if err := machine.update(t); err == nil || machine.active(t) != before {
		t.Errorf("it takes another one's signature: %v, %q", err, machine.active(t))
	}
}
