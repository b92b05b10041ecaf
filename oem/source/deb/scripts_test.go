package deb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/lock"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/source/kind"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
	"github.com/flatcar/oem-sysext/oem/upstream/debian/debiantest"
)

// scriptOf reads the install script of a package.
func scriptOf(t *testing.T, name, commands string) script {
	t.Helper()
	deb := debiantest.Ar(
		debiantest.Member{"debian-binary", "2.0\n"},
		debiantest.Member{"control.tar", debiantest.Control(t, "Package: "+name+"\n", "#!/bin/sh\nset -e\n"+commands+"\n")},
	)
	file := filepath.Join(t.TempDir(), name+".deb")
	if err := os.WriteFile(file, deb, 0o644); err != nil {
		t.Fatal(err)
	}
	read, err := readScript(lock.Pin{Name: name, Version: "1"}, file)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestInstall(t *testing.T) {
	big := "update-alternatives --install /usr/bin/nc nc /bin/nc.big 60 --slave /usr/bin/ncat ncat /usr/bin/ncat.big"
	small := "update-alternatives --install /bin/nc nc /bin/nc.small 50"
	capable := "setcap cap_net_raw+ep /bin/nc.small"
	digest := scriptOf(t, "x", "probe").digest
	for name, c := range map[string]struct {
		scripts  []string
		special  string
		reviewed string
		prunes   string
		link     string // what usr/bin/nc leads to
		says     string
	}{
		"one":                    {scripts: []string{small}, link: "/usr/bin/nc.small"},
		"the highest priority":   {scripts: []string{small, big}, link: "/usr/bin/nc.big"},
		"the better one is gone": {scripts: []string{small, big}, prunes: "usr/bin/nc.big", link: "/usr/bin/nc.small"},
		"a name that is pruned":  {scripts: []string{small}, prunes: "usr/bin/nc"},
		"another is there":       {scripts: []string{strings.ReplaceAll(small, "/bin/nc ", "/bin/nc.big ")}},
		"a capability":           {scripts: []string{small, capable}, says: "recipes/x/recipe.yaml:7: its install script gives /usr/bin/nc.small a privilege: setcap cap_net_raw+ep /bin/nc.small"},
		"which is declared":      {scripts: []string{small, capable}, special: "/usr/bin/nc.small", link: "/usr/bin/nc.small"},
		"and a program":          {scripts: []string{capable + "\nprobe"}, says: "\nx 1: recipes/x/recipe.yaml:7: its install script may change /usr"},
		"of what is pruned":      {scripts: []string{capable}, prunes: "usr/bin/nc.small"},
		"of what is not there":   {scripts: []string{"chmod u+s /usr/bin/nothing"}},
		"a program":              {scripts: []string{"probe"}, says: "x 1: recipes/x/recipe.yaml:7: its install script may change /usr by what is not done here:\n  probe\nif the image can do without, write reviewed: {x: " + digest[:12] + "}"},
		"which was looked at":    {scripts: []string{"probe"}, reviewed: digest[:12]},
		"which is another now":   {scripts: []string{"probe --all"}, reviewed: digest[:12], says: "probe --all"},
		"which is no shell's":    {scripts: []string{"if"}, says: "postinst: 3:1"},
	} {
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := errors.Join(root.MkdirAll("usr/bin", 0o755), root.WriteFile("usr/bin/nc.big", nil, 0o755), root.WriteFile("usr/bin/nc.small", nil, 0o755)); err != nil {
			t.Fatal(err)
		}
		r := &recipe.Recipe{File: "recipes/x/recipe.yaml", Special: map[string]recipe.Special{}}
		if c.special != "" {
			r.Special[c.special] = recipe.Special{}
		}
		d := source{&recipe.Deb{Line: 7, Reviewed: map[string]string{"x": c.reviewed}}, r}
		var scripts []script
		for _, commands := range c.scripts {
			scripts = append(scripts, scriptOf(t, "x", commands))
		}
		err = d.install(scripts, kind.Place{Root: root, KeepNeeded: func(string) bool { return true }, Prunes: func(name string) bool { return name == c.prunes }})
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: error is %v; wanted %q", name, err, c.says)
		}
		if link, _ := root.Readlink("usr/bin/nc"); link != c.link {
			t.Errorf("%s: usr/bin/nc leads to %q; wanted %q", name, link, c.link)
		}
	}
}

// dpkg is in the way of nearly all packages, and a part of those that work with packages.
func TestWhatIsLeftOut(t *testing.T) {
	index := debiantest.Stanza("tool", "1", "Pre-Depends: dpkg (>= 1.2)", "Depends: adduser") + "\n" + debiantest.Stanza("maker", "1", "Depends: make, dpkg (>= 1.2) | other") + "\n"
	packages, err := debian.Load("trixie", "amd64", []debian.Pocket{{Name: "trixie", Text: index}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want  string
		named []string
		left  string
	}{{"tool", nil, "adduser dpkg"}, {"maker", nil, "adduser"}, {"maker", []string{"dpkg"}, "adduser dpkg"}, {"gone", nil, "adduser dpkg"}} {
		if got := strings.Join(unlessWanted(packages, []string{c.want}, []string{"adduser", "dpkg"}, c.named), " "); got != c.left {
			t.Errorf("%s, which leaves out %v: %s; wanted %s", c.want, c.named, got, c.left)
		}
	}
}

// What a package moves away is there under another name, and the package's own file in its place.
func TestDiversions(t *testing.T) {
	packageOf := func(name, preinst string) unpacked {
		file := filepath.Join(t.TempDir(), name+".deb")
		deb := debiantest.Ar(
			debiantest.Member{"debian-binary", "2.0\n"},
			debiantest.Member{"control.tar", debiantest.Control(t, "Package: "+name+"\nVersion: 1\nArchitecture: amd64\n", "#!/bin/sh\n", preinst)},
			debiantest.Member{"data.tar", debiantest.Tar(t, "usr/bin/tool")},
		)
		if err := os.WriteFile(file, deb, 0o644); err != nil {
			t.Fatal(err)
		}
		moved, err := diversions(file)
		if err != nil {
			t.Fatal(err)
		}
		return unpacked{script: script{pin: lock.Pin{Name: name, Version: "1"}}, file: file, diversions: moved}
	}
	all := func(string) bool { return true }
	for preinst, want := range map[string]string{
		"#!/bin/sh\ncase \"$1\" in install|upgrade) dpkg-divert --package better --add --rename --divert /usr/bin/tool.old /usr/bin/tool ;; esac\n": "",
		"#!/usr/bin/perl\nexit 0;\n": "usr/bin/tool",
	} {
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		to := kind.Place{Root: root, Arch: "amd64", Keep: all, KeepNeeded: all}
		d := source{&recipe.Deb{}, &recipe.Recipe{}}
		if err := d.unpack(packageOf("tool", "#!/bin/sh\n"), to); err != nil {
			t.Fatal(err)
		}
		err = d.unpack(packageOf("better", preinst), to)
		_, had := root.Lstat("usr/bin/tool.old")
		if want == "" && (err != nil || had != nil) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, %v", preinst, err, had)
		}
	}
}
