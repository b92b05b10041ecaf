package base

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes files below a new directory. A value that starts with "-> " makes a symbolic link.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		err := os.WriteFile(path, []byte(content), 0o755)
		if target, isLink := strings.CutPrefix(content, "-> "); isLink {
			err = os.Remove(path)
			if err == nil {
				err = os.Symlink(target, path)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// list names the files and links below a directory.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestDefinitionsAreSound(t *testing.T) {
	for _, id := range IDs() {
		def, err := Load(id)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if def.ID != id {
			t.Errorf("%s.yaml has the id %s", id, def.ID)
		}
		for _, name := range def.Packages {
			if slices.Contains(def.Without, name) {
				t.Errorf("%s: %s is both wanted and left out", id, name)
			}
		}
	}
}

func TestDefinitionsOfAnotherArchitecture(t *testing.T) {
	def, err := Load("trixie")
	if err != nil {
		t.Fatal(err)
	}
	other := def.forArch("arm64")
	if !slices.Contains(other.Packages, "linux-image-arm64") || slices.Contains(other.Packages, "linux-image-amd64") {
		t.Errorf("its packages are %v", other.Packages)
	}
	if slices.Contains(other.Initrd.Drivers, "vmw_pvscsi") || len(other.Initrd.Drivers) != len(def.Initrd.Drivers)-1 {
		t.Errorf("its drivers are %v", other.Initrd.Drivers)
	}
	if again, err := Load("trixie"); err != nil || !cmp.Equal(again, def) || !cmp.Equal(def.forArch("amd64"), def) {
		t.Errorf("the definition itself has changed: %v", err)
	}
}

func TestLoadNamesWhatThereIs(t *testing.T) {
	if _, err := Load("woody"); err == nil || !strings.Contains(err.Error(), "trixie") {
		t.Errorf("error is %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, wanted := range map[string]string{
		"id: a\nsuite: b\n":                                    "packages",
		"id: a\nsuite: b\npackages: [c]\npakages: []\n":        "pakages",
		"id: a\nsuite: b\npackages: [c]\nlinks: [{path: x}]\n": "target",
	} {
		if _, err := parse("a.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%q: error is %v; wanted one about %s", text, err, wanted)
		}
	}
}

func TestVersions(t *testing.T) {
	for version, want := range map[string]string{"4459.2.0": "4459.2.0", "1.2.3+nightly-20260901-2100": "1.2.3"} {
		if got, err := VersionID(version); got != want || err != nil {
			t.Errorf("VersionID(%q) = %q, %v; want %q", version, got, err, want)
		}
	}
	for _, version := range []string{"", "1.2", "1.2.3.4", "v1.2.3", "1.2.3+", "1.2.3\nID=x", "../1.2.3"} {
		if _, err := VersionID(version); err == nil {
			t.Errorf("VersionID(%q) accepted it", version)
		}
	}
	release := osRelease(Definition{ID: "trixie"}, "1.2.3+x")
	for _, line := range []string{"ID=flatcar", "VERSION=1.2.3+x", "VERSION_ID=1.2.3", "SYSEXT_LEVEL=1.0"} {
		if !strings.Contains(release, line+"\n") {
			t.Errorf("no line %s in\n%s", line, release)
		}
	}
}

const someStatus = `Package: shell
Version: 2:5.2-1+b3
Depends: editor-api (>= 1) | other, libc:any
Pre-Depends: installer

Package: vi
Version: 9
Provides: editor-api (= 1)

Package: libc
Version: 2.41-12

Package: installer
Version: 1
Depends: perl

Package: perl
Version: 5
`

func TestClosure(t *testing.T) {
	pkgs, err := readStatus(filepath.Join(write(t, map[string]string{"status": someStatus}), "status"))
	if err != nil {
		t.Fatal(err)
	}
	keep, err := closure(pkgs, []string{"shell"}, []string{"installer"})
	want := map[string]bool{"shell": true, "vi": true, "libc": true}
	if diff := cmp.Diff(want, keep); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
	if _, err := closure(pkgs, []string{"emacs"}, nil); err == nil || !strings.Contains(err.Error(), "emacs") {
		t.Errorf("error is %v", err)
	}
	if got := upstreamVersion(pkgs, "libc"); got != "2.41" {
		t.Errorf("version is %q", got)
	}
}

func TestRemovePackages(t *testing.T) {
	dir := write(t, map[string]string{
		"var/lib/dpkg/status":                 "Package: a\n\nPackage: b\n",
		"var/lib/dpkg/info/a.list":            "/.\n/usr\n/usr/bin\n/usr/bin/a\n/usr/share/both\n",
		"var/lib/dpkg/info/b:amd64.list":      "/.\n/usr\n/usr/bin\n/usr/bin/b\n/usr/share/both\n/usr/lib/b\n/usr/lib/b/x y\n/bin/gone\n/run/b\n",
		"usr/bin/a":                           "",
		"usr/bin/b":                           "",
		"usr/share/both":                      "",
		"usr/lib/b/x y":                       "",
		"usr/lib/b-made-by-a-script/leftover": "",
		"bin":                                 "-> usr/bin",
	})
	pkgs, err := readStatus(filepath.Join(dir, "var/lib/dpkg/status"))
	if err != nil {
		t.Fatal(err)
	}
	status, err := removePackages(dir, pkgs, map[string]bool{"a": true})
	if err != nil || string(status) != "Package: a\n" {
		t.Fatalf("status %q, %v", status, err)
	}
	want := []string{"bin", "usr/bin/a", "usr/lib/b-made-by-a-script/leftover", "usr/share/both"}
	got := slices.DeleteFunc(list(t, dir), func(name string) bool { return strings.HasPrefix(name, "var/lib/dpkg/") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := os.Lstat(filepath.Join(dir, "usr/lib/b")); err == nil {
		t.Error("an empty directory is left")
	}
}

func TestRemovingStaysInside(t *testing.T) {
	outside := write(t, map[string]string{"precious": ""})
	dir := write(t, map[string]string{"var/run": "-> " + outside})
	if err := removeFiles(dir, []string{"var/run/precious"}); err == nil {
		t.Error("a path through a link that leads outside was accepted")
	}
	if len(list(t, outside)) != 1 {
		t.Error("a file outside was removed")
	}
}

func TestPrune(t *testing.T) {
	dir := write(t, map[string]string{"etc/cron.daily/x": "", "etc/cron.d/y": "", "etc/hosts": ""})
	if err := prune(dir, []string{"etc/cron.*"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"etc/hosts"}, list(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := prune(dir, []string{"etc/cron.*"}); err == nil || !strings.Contains(err.Error(), "etc/cron.*") {
		t.Errorf("a pattern without a match: %v", err)
	}
}

func TestDropUnrunnable(t *testing.T) {
	dir := write(t, map[string]string{
		"usr/bin/dash": "\x7fELF", "usr/bin/sh": "-> dash", "usr/bin/which": "#! /usr/bin/sh -e\n",
		"usr/bin/ucfq": "#!/usr/bin/perl -w\n", "usr/sbin/adduser": "#!/usr/bin/perl\n", "usr/bin/empty": "",
	})
	if err := dropUnrunnable(dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"usr/bin/dash", "usr/bin/empty", "usr/bin/sh", "usr/bin/which"}, list(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDropDangling(t *testing.T) {
	dir := write(t, map[string]string{
		"usr/bin/gawk":         "",
		"etc/alternatives/awk": "-> /usr/bin/gawk", "usr/bin/awk": "-> /etc/alternatives/awk",
		"etc/alternatives/vi": "-> /usr/bin/vim", "usr/bin/vi": "-> /etc/alternatives/vi",
		"etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf", "etc/mtab": "-> /proc/mounts",
	})
	if err := dropDangling(dir); err != nil {
		t.Fatal(err)
	}
	want := []string{"etc/alternatives/awk", "etc/mtab", "etc/resolv.conf", "usr/bin/awk", "usr/bin/gawk"}
	if diff := cmp.Diff(want, list(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCopyFilesMakesScriptsExecutable(t *testing.T) {
	dir := t.TempDir()
	if err := copyFiles("files/initrd", dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		"usr/bin/verity-usr":                        0o755,
		"usr/lib/systemd/system/verity-usr.service": 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}
