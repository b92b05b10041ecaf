package recipe

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// Signature is a detached signature beside a file, and the one key that may have made it.
type Signature struct {
	Line     strictyaml.Line
	Suffix   string          `yaml:"suffix,required"` // appended to the file's name, such as .asc
	Minisign string          `yaml:"minisign"`        // the public key itself
	OpenPGP  strictyaml.Text `yaml:"openpgp"`         // file with public keys, beside the recipe
}

// Unpack says how a tar or zip archive is unpacked. Debian packages need no such settings.
type Unpack struct {
	Strip   Parts  `yaml:"strip"`   // number of leading directories to remove from each name
	Include []Glob `yaml:"include"` // what is unpacked, by path after strip; everything if empty
	To      Place  `yaml:"to"`      // target directory; "/" if empty
	Program Path   `yaml:"program"` // instead of the others, for a file that is one program, plain or compressed
}

// Parts is a number of directories.
type Parts int

// UnmarshalText reads a small number.
func (p *Parts) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 4)
	if err != nil {
		return fmt.Errorf("%q; wanted the number of leading directories to remove, such as 1", text)
	}
	*p = Parts(n)
	return nil
}

// Place is /usr or a path below it.
type Place string

// UnmarshalText refuses other places.
func (p *Place) UnmarshalText(text []byte) error {
	if string(text) != "/usr" {
		if err := new(Path).UnmarshalText(text); err != nil {
			return err
		}
	}
	*p = Place(text)
	return nil
}

func appendNames(words []string, names []strictyaml.Text, without []string) []string {
	for _, name := range names {
		words = append(words, name.Value)
	}
	if len(without) > 0 {
		words = append(append(words, "without"), slices.Sorted(slices.Values(without))...)
	}
	return words
}

func appendArchNames(words []string, names map[string]string) []string {
	for _, a := range arch.All {
		if name, set := names[string(a)]; set {
			words = append(words, string(a)+"="+name)
		}
	}
	return words
}

func (s *Signature) append(words []string) []string {
	if s == nil {
		return words
	}
	return append(words, "signed", s.Suffix, cmp.Or(s.Minisign, s.OpenPGP.Value))
}

// Fill replaces {version} and {arch} in an address or file name.
func Fill(text, version string, names map[string]string, a arch.Arch) string {
	return filler(version, names, a).Replace(text)
}

// filler replaces {version} and {arch}.
func filler(version string, names map[string]string, a arch.Arch) *strings.Replacer {
	return strings.NewReplacer("{version}", version, "{arch}", cmp.Or(names[string(a)], string(a)))
}

// address refuses anything but http and https, and addresses that may contain a password or token.
func (c *checker) address(address strictyaml.Text) {
	parsed, err := url.Parse(address.Value)
	switch {
	case err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http":
		c.add(address.Line, "address: not an http or https address; wanted one such as https://example.org/tool-{version}-{arch}.tar.gz")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		c.add(address.Line, "address: has a user, password or query; remove it: recipes must not contain credentials")
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
		if info, err := fs.Stat(c.fsys, c.beside(s.OpenPGP.Value)); err != nil || !info.Mode().IsRegular() || !fs.ValidPath(s.OpenPGP.Value) {
			c.add(s.OpenPGP.Line, "openpgp: %q does not exist; wanted a file with public keys beside %s", s.OpenPGP, FileName)
		}
	}
}

func (c *checker) unpack(line strictyaml.Line, u Unpack) {
	if u.Program != "" && (u.Strip > 0 || u.Include != nil || u.To != "") {
		c.add(line, "unpack: program: excludes strip:, include: and to:; remove either")
	}
}

func isArch(name string) bool { return slices.Contains(arch.All, arch.Arch(name)) }
