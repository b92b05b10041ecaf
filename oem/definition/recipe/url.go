package recipe

import (
	"maps"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// URL is a file at an address.
type URL struct {
	Line      strictyaml.Line
	Address   strictyaml.Text          `yaml:"address,required"` // {version} and {arch} are filled in
	Mirrors   []strictyaml.Text        `yaml:"mirrors"`          // tried after the address, in order
	Version   string                   `yaml:"version,required"`
	ArchNames map[string]string        `yaml:"arch_names"`      // upstream's names for amd64 and arm64
	SHA256    map[string]digest.SHA256 `yaml:"sha256,required"` // by architecture, or "all" for a file that serves both
	Signature *Signature               `yaml:"signature"`
	Unpack    Unpack                   `yaml:"unpack"`
	Update    *Listing                 `yaml:"update"`
}

// Listing is a page that lists versions.
type Listing struct {
	Line    strictyaml.Line
	Address strictyaml.Text `yaml:"address,required"`
	Pattern Pattern         `yaml:"pattern,required"` // its first group is a version
}

// Name is the kind's key.
func (*URL) Name() string { return "url" }

// Question names the address, the version, and the key of the signature.
func (u *URL) Question(bool) string {
	return question(u, u.Signature.append(appendArchNames([]string{u.Address.Value, u.Version}, u.ArchNames))...)
}

// DependsOnBase is false: a file is the same for every base.
func (*URL) DependsOnBase(bool) bool { return false }

// Addresses are those of the file for an architecture: address, then mirrors.
func (u *URL) Addresses(a arch.Arch) []string {
	fill := filler(u.Version, u.ArchNames, a)
	addresses := []string{fill.Replace(u.Address.Value)}
	for _, mirror := range u.Mirrors {
		addresses = append(addresses, fill.Replace(mirror.Value))
	}
	return addresses
}

// Digest is the digest of the file for an architecture.
func (u *URL) Digest(a arch.Arch) (digest.SHA256, bool) {
	for _, key := range []string{string(a), "all"} {
		if d, set := u.SHA256[key]; set {
			return d, true
		}
	}
	return digest.SHA256{}, false
}

func (u *URL) check(c *checker) {
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
