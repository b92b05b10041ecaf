package recipe

import (
	"io/fs"
	"maps"
	"net/url"
	"path"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// address refuses anything but http and https, and addresses that may contain a password or token.
func (c *checker) address(address strictyaml.Text) {
	parsed, err := url.Parse(address.Value)
	switch {
	case err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http":
		c.add(address.Line, "not an http or https address; wanted one such as https://example.org/tool-{version}-{arch}.tar.gz")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		c.add(address.Line, "the address has a user, password or query; remove it: recipes must not contain credentials")
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
			c.add(s.OpenPGP.Line, "%q does not exist; wanted a file with public keys beside %s", s.OpenPGP, FileName)
		}
	}
}

func (c *checker) unpack(line strictyaml.Line, u Unpack) {
	if u.Program != "" && (u.Strip > 0 || u.Include != nil || u.To != "") {
		c.add(line, "unpack: program: excludes strip:, include: and to:; remove either")
	}
}

func isArch(name string) bool { return slices.Contains(arch.All, arch.Arch(name)) }
