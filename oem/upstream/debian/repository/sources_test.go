package repository

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writeApt writes an apt configuration.
func writeApt(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Whatever distribution a host has, and whatever its sources, the archive is Debian's.
func TestConfigured(t *testing.T) {
	debian := Sources{Main: Main, Security: Security}
	expired := debian
	expired.AllowExpired = true
	other := Sources{Main: "http://mirror.example.org/d", Security: "http://mirror.example.org/s", Keyring: "/keys/ours.gpg"}
	ubuntu := map[string]string{
		"sources.list":                     "# Ubuntu sources have moved to the /etc/apt/sources.list.d/ubuntu.sources file\n",
		"sources.list.d/ubuntu.sources":    "Types: deb\nURIs: http://archive.ubuntu.com/ubuntu/\nSuites: noble noble-updates\nComponents: main universe\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n",
		"apt.conf.d/50unattended-upgrades": "Unattended-Upgrade::Allowed-Origins { \"${distro_id}:${distro_codename}\"; };\n",
	}
	for _, test := range []struct {
		name  string
		files map[string]string
		env   map[string]string
		want  Sources
	}{
		{"no apt", nil, nil, debian},
		{"Ubuntu", ubuntu, nil, debian},
		{"a mirror of the host's", map[string]string{"sources.list": "deb [signed-by=/x.gpg] http://x.example.org/debian trixie main\n"}, nil, debian},
		{"malformed", map[string]string{"sources.list.d/x.sources": "Types deb\n"}, nil, debian},
		{"apt accepts expired", map[string]string{"apt.conf.d/99x": "Acquire::Check-Valid-Until \"false\";\n"}, nil, expired},
		{"expired by variable", nil, map[string]string{EnvAllowExpired: "no"}, expired},
		{"variables", ubuntu, map[string]string{EnvMain: other.Main + "/", EnvSecurity: other.Security, EnvKeyring: other.Keyring}, other},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Configured(writeApt(t, test.files), func(name string) string { return test.env[name] })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("wanted (-), got (+):\n%s", diff)
			}
		})
	}
}

// The keys are those of Debian 12 and 13, and none has expired or will soon.
func TestKeysOfTheArchive(t *testing.T) {
	a := &Archive{CacheDir: filepath.Join(t.TempDir(), "downloads")}
	keys, err := a.keys()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, key := range keys {
		found[key.PrimaryKey.KeyIdString()] = true
		if self := key.PrimaryIdentity().SelfSignature; self.KeyLifetimeSecs == nil || key.PrimaryKey.CreationTime.Add(time.Duration(*self.KeyLifetimeSecs)*time.Second).Before(time.Now().AddDate(1, 0, 0)) {
			t.Errorf("%s expires within a year; look for Debian's new keys", key.PrimaryKey.KeyIdString())
		}
	}
	want := map[string]bool{
		"F8D2585B8783D481": true, "B7C5D7D6350947F8": true, "254CF3B5AEC0A8F0": true, // Debian 12: stable, archive, security
		"762F67A0B2C39DE4": true, "225629DF75B188BD": true, "9904613D4CCE68C6": true, // Debian 13
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("wanted (-), got (+):\n%s", diff)
	}
	path, err := a.keyringFile()
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.keyringFile()
	if content, errRead := os.ReadFile(path); err != nil || again != path || errRead != nil || string(content) != string(archiveKeys) {
		t.Errorf("%s, then %s, %v, %v, %d bytes", path, again, err, errRead, len(content))
	}
}
