package testrelease

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/profiles"
	"github.com/flatcar/oem-sysext/release/setup"
)

// ProfileHead is the beginning of a profile, up to its extensions.
const ProfileHead = "summary: s\nheadroom: 64 MiB\nimages: 36 MiB\nmax_images: 5\nextensions:\n"

// SmallCheckout writes a checkout with one platform and one tool, which needs no packages.
func SmallCheckout(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	layouts, err := os.ReadFile(filepath.Join(Checkout(t), setup.LayoutsFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		setup.LayoutsFile:               string(layouts),
		"release/profiles/default.yaml": strings.TrimSuffix(ProfileHead, "extensions:\n"),
		"recipes/tool/recipe.yaml": "name: tool\nsummary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64]\n" +
			"files: files/\nmax_size: 64 KiB\nunits: {upholds: {multi-user.target: [tool.service]}}\n",
		"recipes/tool/files/usr/lib/systemd/system/tool.service": "[Unit]\nDescription=tool\n[Service]\nExecStart=/usr/bin/tool\n",
		"recipes/tool/files/usr/bin/tool":                        "#!/bin/sh\nexec sleep infinity\n",
		"platforms/vagrant.yaml": "id: vagrant\nname: Vagrant\nhomepage: https://example.org\nkernel_id: vagrant\narches: [amd64]\n" +
			"recipes: [tool]\nactive_units: [tool.service]\ndetect: [{dmi: {sys_vendor: Test}}]\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(content, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Composing returns options for a small checkout and a profile outside of it.
func Composing(t testing.TB, dir, extensions string) setup.Options {
	t.Helper()
	Needs(t)
	path := filepath.Join(dir, "mine.yaml")
	if err := os.WriteFile(path, []byte(ProfileHead+extensions), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Fresh(t)
	o.Checkout, o.Profile = SmallCheckout(t), path
	return o
}

// UpdateKeys writes a new private key to update.key and its public half to update.pem, and returns the former's path.
func UpdateKeys(t testing.TB, dir string) string {
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

// PublicHalf returns the path of the public half of a key from UpdateKeys.
func PublicHalf(key string) string { return strings.TrimSuffix(key, "key") + "pem" }

// OwnUpdates adds an update server to the default profile of a checkout and returns the path of its private key.
func OwnUpdates(t testing.TB, checkout string) string {
	t.Helper()
	dir := filepath.Join(checkout, profiles.Dir)
	file := filepath.Join(dir, profiles.Default+".yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content = append(content, "update: {key: update.pem, server: 'https://updates.example.org/v1/update/', group: edge}\n"...)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return UpdateKeys(t, dir)
}
