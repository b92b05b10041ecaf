package partition

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// updateKeys writes a new key to update.key, which it returns, and its public half to update.pem.
func updateKeys(t testing.TB, dir string) string {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := sign.EncodePublic(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"update.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "update.pem": public} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "update.key")
}

// publicHalf is the file beside a key of updateKeys.
func publicHalf(key string) string { return strings.TrimSuffix(key, "key") + "pem" }

// ownUpdates gives the default profile of a checkout an update server, and returns the key.
func ownUpdates(t testing.TB, checkout string) string {
	t.Helper()
	dir := filepath.Join(checkout, profiles.Dir)
	file := filepath.Join(dir, profiles.Default+".yaml")
	content := append(contentOf(t, file), "update: {key: update.pem, server: 'https://updates.example.org/v1/update/', group: edge}\n"...)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return updateKeys(t, dir)
}

// verifiesItsUpdates takes a release's key and configuration out of its /usr, as update_engine reads them, and verifies with that key a
// payload that the release comes with.
func (w *workshop) verifiesItsUpdates(t *testing.T, made partition, dir string, image pack.Image) {
	t.Helper()
	key := filepath.Join(dir, "from-usr.pem")
	err := btrfs.View(t.Context(), w.blobs.Path(made.SHA256), func(mounted string) error {
		conf, err := os.ReadFile(filepath.Join(mounted, "share/flatcar/update.conf"))
		if err != nil {
			return err
		}
		if diff := cmp.Diff("SERVER=https://updates.example.org/v1/update/\nGROUP=edge\n", string(conf)); diff != "" {
			t.Errorf("update.conf: %s", diff)
		}
		content, err := os.ReadFile(filepath.Join(mounted, "share/update_engine/update-payload-key.pub.pem"))
		if err != nil {
			return err
		}
		return os.WriteFile(key, content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest.Manifest{}
	p := manifest.Payload{File: "oem-some.gz", Image: manifest.Installed{Size: image.Size, SHA256: image.SHA256}}
	if err := w.addPayload(t.Context(), m, p); err != nil {
		t.Fatal(err)
	}
	if err := VerifyPayload(t.Context(), w.blobs.Path(m.File(p.File).SHA256), key, "", io.Discard); err != nil {
		t.Error(err)
	}
	other := updateKeys(t, t.TempDir())
	if err := VerifyPayload(t.Context(), w.blobs.Path(m.File(p.File).SHA256), publicHalf(other), "", io.Discard); err == nil {
		t.Error("a payload verifies with another key")
	}
	told, err := w.describeUpdate()
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := pem.Decode(contentOf(t, key)); told.Key != digest.Of(want.Bytes) || told.Server != w.profile.Update.Server.Value || told.Group != "edge" {
		t.Errorf("the manifest says %+v", told)
	}
}

func contentOf(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// A release whose machines would refuse its own updates is not begun.
func TestTrustedKey(t *testing.T) {
	mine, other := t.TempDir(), t.TempDir()
	updateKeys(t, mine)
	updateKeys(t, other)
	for name, c := range map[string]struct {
		key  string // UPDATE_KEY
		want string
	}{
		"the private half": {filepath.Join(mine, "update.key"), ""},
		"another key":      {filepath.Join(other, "update.key"), "mine.yaml:7: update: update.pem is not the public half of UPDATE_KEY"},
		"no key":           {"", "mine.yaml:7: update: machines would trust update.pem, and without UPDATE_KEY"},
	} {
		p := &profiles.Profile{File: "mine.yaml", Dir: mine, Update: &profiles.Update{}}
		p.Update.Key.Value, p.Update.Key.Line = "update.pem", 7
		w := &workshop{profile: p, Options: Options{Cache: t.TempDir(), Update: sign.Files{Key: c.key}, Log: slog.New(slog.DiscardHandler)}}
		if err := w.openUpdateKey(); err != nil {
			t.Fatal(err)
		}
		if err := w.checkTrustedKey(); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error is %v; wanted %q", name, err, c.want)
		}
	}
	p := &profiles.Profile{File: "mine.yaml", Dir: mine, Update: &profiles.Update{}}
	p.Update.Key.Value, p.Update.Key.Line = "nothing.pem", 7
	w := &workshop{profile: p, Options: Options{Cache: t.TempDir()}}
	if err := w.openUpdateKey(); err == nil || !strings.Contains(err.Error(), "mine.yaml:7: update: ") {
		t.Errorf("error is %v", err)
	}
}

// What the base says of updates stays, but for what the profile says.
func TestUpdateConf(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "share/flatcar"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, updateConfPath), []byte("SERVER=https://public.example/v1/update/\nREBOOT_STRATEGY=off\nGROUP=stable"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, set := range map[string]profiles.Update{
		"SERVER=https://public.example/v1/update/\nREBOOT_STRATEGY=off\nGROUP=edge\n":   {Group: text("edge")},
		"REBOOT_STRATEGY=off\nGROUP=stable\nSERVER=https://mine.example/v1/update/\n":   {Server: text("https://mine.example/v1/update/")},
		"REBOOT_STRATEGY=off\nSERVER=https://mine.example/v1/update/\nGROUP=5b810680\n": {Server: text("https://mine.example/v1/update/"), Group: text("5b810680")},
	} {
		w := &workshop{profile: &profiles.Profile{Update: &set}, target: &target.Base{}}
		w.base.Usr = dir
		files, err := w.updateFiles()
		if err != nil || len(files) != 1 || string(files[0].Content) != want || files[0].Path != updateConfPath {
			t.Errorf("%+v, %v; wanted %s", files, err, want)
		}
	}
	w := &workshop{profile: &profiles.Profile{Update: &profiles.Update{Group: text("edge")}}, target: &target.Base{Usr: tree.Tree{{Path: "/usr/" + updateConfPath, Type: tree.Symlink, Target: "/etc/passwd"}}}}
	if _, err := w.updateFiles(); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("error is %v", err)
	}
}

// What the release puts into /usr itself is not hidden by an extension.
func TestInTheWay(t *testing.T) {
	w := &workshop{profile: &profiles.Profile{Update: &profiles.Update{Group: text("edge")}}}
	j := &judge{workshop: w}
	for path, e := range map[string]tree.Entry{
		"":                                      {Path: "/usr/share/flatcar", Type: tree.Dir},
		" ":                                     {Path: "/usr/share/flatcar/update.conf2", Type: tree.File},
		"/usr/share/flatcar/update.conf":        {Path: "/usr/share/flatcar/update.conf", Type: tree.File},
		"/usr/lib/flatcar/oem-sysext-link":      {Path: "/usr/lib/flatcar", Type: tree.Symlink, Target: "/opt"},
		"/usr/share/flatcar/oem-sysext":         {Path: "/usr/share/flatcar/oem-sysext/mine.raw", Type: tree.File},
		"/usr/bin/oem-sysext, which":            {Path: "/usr/bin/oem-sysext", Type: tree.Dir},
		"system/oem-sysext-link.service, which": {Path: "/usr/lib/systemd/system/oem-sysext-link.service", Type: tree.File},
	} {
		got := strings.Join(j.inTheWay(tree.Tree{e}), "; ")
		if want := strings.TrimSpace(path); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%v: %q; wanted %q", e, got, want)
		}
	}
}

func text(value string) strictyaml.Text { return strictyaml.Text{Value: value} }
