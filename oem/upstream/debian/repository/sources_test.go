package repository

import (
	"os"
	"path/filepath"
	"strings"
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

const (
	deb822 = `# kept by hand
Types: deb deb-src
# http://snapshot.example.org/archive/debian
URIs: http://mirror.example.org/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`
	otherVendors = `Types: deb
URIs: https://vpn.example.org/stable/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/vpn.gpg

Types: deb
URIs: https://containers.example.org/linux/debian
Suites: bookworm
Components: stable

Types: deb
URIs: https://js.example.org/node_20.x
Suites: nodistro
Components: main

Types: deb
URIs: http://old.example.org/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://source.example.org/debian
Suites: bookworm
Components: main
`
	oneLines = `# deb http://off.example.org/debian trixie main
deb [arch=amd64] https://cloud.example.org/apt cloud-sdk-bookworm main
deb-src http://mirror.example.org/debian trixie main
deb [ signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no ] http://mirror.example.org/debian trixie main contrib # ours
deb http://mirror.example.org/debian-security trixie-security/updates main
`
)

func TestHostSources(t *testing.T) {
	keyring := filepath.Join(t.TempDir(), "ours.gpg")
	mirrors := filepath.Join(t.TempDir(), "mirrors.list")
	if err := os.WriteFile(mirrors, []byte("# near\nhttp://near.example.org/debian\nhttp://far.example.org/debian\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	both := Sources{Main: "http://mirror.example.org/debian", Security: "http://mirror.example.org/debian-security"}
	expired := both
	expired.AllowExpired = true
	override := Sources{Main: "http://mirror.example.org/d", Security: "http://mirror.example.org/s", Keyring: keyring}
	near := both
	near.Main = "http://near.example.org/debian"
	for _, test := range []struct {
		name  string
		files map[string]string
		env   map[string]string
		want  Sources
	}{
		{"deb822", map[string]string{"sources.list.d/debian.sources": deb822}, nil, both},
		{"other vendors come first", map[string]string{"sources.list.d/debian.sources": deb822, "sources.list.d/a.sources": otherVendors}, nil, both},
		{"one line", map[string]string{"sources.list": oneLines}, nil, expired},
		{"not ours", map[string]string{"sources.list": oneLines, "sources.list.d/x.list.disabled": "deb http://x.example.org/debian sid main"}, nil, expired},
		{"apt accepts expired", map[string]string{"sources.list.d/d.sources": deb822, "apt.conf.d/99x": "Acquire::Check-Valid-Until \"false\";\n"}, nil, expired},
		{"expired by variable", map[string]string{"sources.list.d/d.sources": deb822}, map[string]string{EnvAllowExpired: "no"}, expired},
		{"variables alone", nil, map[string]string{EnvMain: override.Main + "/", EnvSecurity: override.Security, EnvKeyring: keyring}, override},
		{"variables win", map[string]string{"sources.list": deb822}, map[string]string{EnvMain: override.Main, EnvSecurity: override.Security, EnvKeyring: keyring}, override},
		{"mirror list", map[string]string{"sources.list.d/d.sources": strings.Replace(deb822, "http://mirror.example.org/debian/", "mirror+file://"+mirrors, 1)}, nil, near},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := HostSources(writeApt(t, test.files), func(name string) string { return test.env[name] })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("wanted (-), got (+):\n%s", diff)
			}
		})
	}
}

func TestHostSourcesRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		says  []string
	}{
		"not a Debian host": {map[string]string{"sources.list.d/x.sources": otherVendors}, []string{EnvMain, EnvSecurity}},
		"no apt":            {nil, []string{EnvMain, EnvSecurity}},
		"no security":       {map[string]string{"sources.list": "deb http://mirror.example.org/debian trixie main\n"}, []string{EnvSecurity}},
		"malformed":         {map[string]string{"sources.list.d/x.sources": "Types deb\n"}, []string{"x.sources", "is not a field"}},
	} {
		_, err := HostSources(writeApt(t, test.files), func(string) string { return "" })
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, text := range test.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: error lacks %q: %v", name, text, err)
			}
		}
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
