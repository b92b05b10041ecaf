package recipe

import (
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

func (c *checker) url(u *URL) {
	for _, address := range append([]strictyaml.Text{u.Address}, u.Mirrors...) {
		c.address(address)
	}
	c.archNames(u.Line, u.ArchNames)
	for _, name := range slices.Sorted(maps.Keys(u.SHA256)) {
		if name != "all" && !isArch(name) {
			c.add(u.Line, "sha256 for %q; wanted amd64, arm64 or all", name)
		}
	}
	for _, a := range c.recipe.Arches {
		if _, set := u.Digest(a); !set && u.SHA256 != nil {
			c.add(u.Line, "no sha256 for %s; wanted one for each architecture, or one for all", a)
		}
	}
	c.signature(u.Signature)
	c.unpack(u.Line, u.Unpack)
	if u.Update != nil {
		c.address(u.Update.Address)
		if u.Update.Pattern.NumSubexp() < 1 {
			c.add(u.Update.Line, "pattern %q; wanted one with a group (…) that is the version", u.Update.Pattern)
		}
	}
}

// address refuses what is not on the web, and where a password or token could be.
func (c *checker) address(address strictyaml.Text) {
	parsed, err := url.Parse(address.Value)
	switch {
	case err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http":
		c.add(address.Line, "not an address; wanted one such as https://example.org/tool-{version}-{arch}.tar.gz")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		c.add(address.Line, "an address with a user, password or query; wanted one without: tokens do not belong into a recipe")
	}
}

// Names as GitHub has them.
var validRepository = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$`)

func (c *checker) github(g *GitHub) {
	if !validRepository.MatchString(g.Repository.Value) {
		c.add(g.Repository.Line, "%q is not a repository; wanted OWNER/NAME", g.Repository)
	}
	if _, err := path.Match(g.Asset.Value, ""); err != nil || strings.Contains(g.Asset.Value, "/") {
		c.add(g.Asset.Line, "asset %q; wanted a name, with * and ? for what changes", g.Asset)
	}
	c.archNames(g.Line, g.ArchNames)
	c.signature(g.Signature)
	c.unpack(g.Line, g.Unpack)
}

// Names as Gentoo's Package Manager Specification 3.1 has them, and versions of Flatcar.
var (
	validCPN     = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9+_.-]*/[A-Za-z0-9_][A-Za-z0-9+_-]*$`)
	validRelease = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(\+[A-Za-z0-9.+-]+)?$`)
)

func (c *checker) binpkg(b *Binpkg) {
	if !validRelease.MatchString(b.Release) {
		c.add(b.Line, "release %q; wanted one of Flatcar such as 4593.1.0", b.Release)
	}
	for _, name := range b.Packages {
		if !validCPN.MatchString(name.Value) {
			c.add(name.Line, "%q is not a package; wanted CATEGORY/NAME such as app-emulation/open-vm-tools", name)
		}
	}
	if len(b.Packages) == 0 {
		c.add(b.Line, "no packages; wanted at least one")
	}
}

func (c *checker) archNames(line strictyaml.Line, names map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !isArch(name) {
			c.add(line, "arch_names for %q; wanted amd64 or arm64", name)
		}
	}
}

func (c *checker) signature(s *Signature) {
	switch {
	case s == nil:
	case (s.Minisign == "") == (s.OpenPGP.Value == ""):
		c.add(s.Line, "a signature needs one key; wanted either minisign: or openpgp:")
	case s.OpenPGP.Value != "":
		name := path.Join(path.Dir(c.recipe.File), s.OpenPGP.Value)
		if info, err := fs.Stat(c.fsys, name); err != nil || !info.Mode().IsRegular() || !fs.ValidPath(s.OpenPGP.Value) {
			c.add(s.OpenPGP.Line, "%q is not there; wanted a file with public keys beside %s", s.OpenPGP, FileName)
		}
	}
}

func (c *checker) unpack(line strictyaml.Line, u Unpack) {
	if u.Program != "" && (u.Strip > 0 || u.Include != nil || u.To != "") {
		c.add(line, "unpack: has program: and more; wanted nothing else for what is no archive")
	}
}

func isArch(name string) bool { return name == string(arch.AMD64) || name == string(arch.ARM64) }
