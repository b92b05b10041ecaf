package build

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// TestShares says which inputs take what of a tree, and which other recipe has one of them.
func TestShares(t *testing.T) {
	m := newMirror(t)
	small, large := tgz(t, "usr/bin/small", "usr/share/doc/x"), tgz(t, "usr/bin/a", "usr/lib/b", "etc/c", "usr/lib/pruned")
	m.files["/small"], m.files["/large"] = small, large
	source := func(name string, content []byte) string {
		return fmt.Sprintf("  - url: {address: '%s/%s', version: 1.0, sha256: {all: %v}}\n", m.address, name, digest.Of(content))
	}
	dir := checkout(t, "sources:\n"+source("small", small)+source("large", large)+"move: {/etc/c: /usr/share/c}\nprune: [/usr/lib/pruned]\n")
	other := "name: NAME\nsummary: s\nhomepage: https://example.org\nlicense: MIT\narches: [amd64]\nmax_size: 1 MiB\n"
	for name, more := range map[string]string{
		"named": "sources: [{deb: {suite: trixie, packages: [large]}}]\n", "user": "needs: [tool]\nsources: [{deb: {suite: trixie, packages: [small]}}]\n",
	} {
		write(t, filepath.Join(dir, "recipes", name, "recipe.yaml"), strings.Replace(other, "NAME", name, 1)+more)
	}
	b, _ := m.over(t, dir)
	resolved, err := b.Resolve(t.Context(), load(t, dir), arch.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	built, err := b.Tree(t.Context(), resolved)
	if err != nil {
		t.Fatal(err)
	}
	shares, err := b.Shares(t.Context(), resolved, built)
	const want = "[large 1.0 3 B (recipe named has it: needs: [named], and large in without:) small 1.0 1 B]"
	if got := fmt.Sprint(shares); got != want || err != nil {
		t.Errorf("%s, %v; wanted %s", got, err, want)
	}
}

func TestSizeOfPrivateLibraries(t *testing.T) {
	built := tree.Tree{{Path: "/usr/lib/oem-x/lib/liba.so.1", Size: 2}, {Path: "/usr/lib/other/liba.so.1", Size: 4}, {Path: "/usr/share/x", Size: 8}}
	if got := sizeOf(built, map[string]bool{"/usr/lib/x86_64-linux-gnu/liba.so.1": true, "/usr/share/x": true}, privateDir("x")); got != 10 {
		t.Errorf("%v", got)
	}
}

// TestMissingRequiredFiles says why a required file is missing, and what to do.
func TestMissingRequiredFiles(t *testing.T) {
	status := "Package: ethtool\nStatus: install ok installed\nVersion: 1:6.14.2-1\nArchitecture: amd64\n\nPackage: util-linux\nStatus: install ok installed\nVersion: 2.41\nArchitecture: amd64\n\n"
	usr := tree.Tree{
		{Path: "/usr", Type: tree.Dir, Mode: 0o755}, {Path: "/usr/bin", Type: tree.Dir, Mode: 0o755}, {Path: "/usr/bin/ethtool", Type: tree.File}, {Path: "/usr/bin/lsns", Type: tree.File},
		{Path: "/usr/bin/mystery", Type: tree.File}, {Path: "/usr/sbin", Type: tree.Symlink, Target: "bin"},
	}
	debian := &target.Base{Usr: usr, Status: []byte(status)}
	gentoo := &target.Base{Usr: usr, Gentoo: []byte("sys-apps/ethtool-6.14\nsys-apps/util-linux-2.40.4\napp-misc/mystery-tool-1\n")}
	for _, c := range []struct {
		base     *target.Base
		more     string
		requires recipe.Path
		want     string
	}{
		{debian, "", "/usr/sbin/ethtool", "the base has it in package ethtool 1:6.14.2-1; remove the line, or add unless: [/usr/sbin/ethtool]"},
		{debian, "sources: [{deb: {suite: trixie, packages: [util-linux]}}]\n", "/usr/bin/lsns", "the base has it in package util-linux 2.41; remove"},
		{debian, "", "/usr/bin/mystery", "the base has it; remove the line"},
		{debian, "", "/usr/bin/none", "add a source, file or build that provides it"},
		{debian, "prune: ['/usr/b*']\n", "/usr/bin/ethtool", "prune: leaves it out; correct one of the two"},
		{gentoo, "", "/usr/bin/ethtool", "the base has it in package sys-apps/ethtool-6.14; remove"},
		{gentoo, "sources: [{binpkg: {release: 4593.1.0, packages: [sys-apps/util-linux]}}]\n", "/usr/bin/lsns", "the base has it in package sys-apps/util-linux-2.40.4;"},
		{gentoo, "", "/usr/bin/mystery", "the base has it; remove the line"},
	} {
		r := load(t, checkout(t, c.more))
		r.Requires = []recipe.Path{c.requires}
		err := (&Builder{Base: c.base}).checkRequires(nil, r)
		if want := "recipes/tool/recipe.yaml: requires " + string(c.requires) + ", which is not in the result; " + c.want; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error is %v; wanted %s", err, want)
		}
	}
}

// TestNoLockFile warns, with the command that writes one.
func TestNoLockFile(t *testing.T) {
	m := newMirror(t)
	content := tgz(t, "usr/bin/tool")
	m.files["/tool-1.0-x86_64"] = content
	b, log := m.over(t, checkout(t, urlSource(m, content, "")))
	if _, err := files(t, b); err != nil {
		t.Fatal(err)
	}
	if said := log.String(); !strings.Contains(said, "there is no lock file") || !strings.Contains(said, "scripts/mage recipe:lock tool") {
		t.Errorf("said %s", said)
	}
	lockAll(t, b)
	log.Reset()
	if _, err := files(t, b); err != nil || strings.Contains(log.String(), "lock file") {
		t.Errorf("with one: %v, %s", err, log)
	}
}
