package recipe

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	ArchNames map[string]string        `yaml:"arch_names"`      // how upstream calls amd64 and arm64
	SHA256    map[string]digest.SHA256 `yaml:"sha256,required"` // by architecture, or "all" for a file that serves both
	Signature *Signature               `yaml:"signature"`
	Unpack    Unpack                   `yaml:"unpack"`
	Update    *Listing                 `yaml:"update"`
}

// GitHub is an asset of a release on GitHub. Its digest is in the lock file.
type GitHub struct {
	Line       strictyaml.Line
	Repository strictyaml.Text   `yaml:"repository,required"` // owner/name
	Tag        string            `yaml:"tag,required"`
	Asset      strictyaml.Text   `yaml:"asset,required"` // a pattern for its name, such as tool_*_linux_{arch}.tar.gz
	ArchNames  map[string]string `yaml:"arch_names"`
	Signature  *Signature        `yaml:"signature"`
	Unpack     Unpack            `yaml:"unpack"`
	Update     Pattern           `yaml:"update"` // of tags that count as newer versions; all when empty
}

// Binpkg is binary packages of a Flatcar release with what they depend on and the base does not have.
type Binpkg struct {
	Line     strictyaml.Line
	Release  string            `yaml:"release,required"` // such as 4593.1.0
	Packages []strictyaml.Text `yaml:"packages,required"`
	Without  []string          `yaml:"without"`
}

// Signature is a detached signature beside a file, and the one key that may have made it.
type Signature struct {
	Line     strictyaml.Line
	Suffix   string          `yaml:"suffix,required"` // what the signature's name adds to the file's, such as .asc
	Minisign string          `yaml:"minisign"`        // the public key itself
	OpenPGP  strictyaml.Text `yaml:"openpgp"`         // a file with public keys beside the recipe
}

// Unpack says how an archive is laid out. A tar or zip archive is unpacked; a Debian package lays itself out.
type Unpack struct {
	Strip   Parts  `yaml:"strip"`   // how many leading directories are taken off each name
	Include []Glob `yaml:"include"` // what is taken, by path after that; everything when empty
	To      Place  `yaml:"to"`      // where it is laid; "/" when empty
	Program Path   `yaml:"program"` // instead of all these: the file is no archive but one program, perhaps compressed
}

// Listing is a page that shows which versions there are.
type Listing struct {
	Line    strictyaml.Line
	Address strictyaml.Text `yaml:"address,required"`
	Pattern Pattern         `yaml:"pattern,required"` // its first group is a version
}

// Parts is a number of directories.
type Parts int

// UnmarshalText reads a small number.
func (p *Parts) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 4)
	if err != nil {
		return fmt.Errorf("%q; wanted how many leading directories are taken off, such as 1", text)
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

// Kind names the source's kind, and is empty when it has none.
func (s *Source) Kind() string {
	switch {
	case s.Deb != nil:
		return "deb"
	case s.Go != nil:
		return "go"
	case s.URL != nil:
		return "url"
	case s.GitHub != nil:
		return "github"
	case s.Binpkg != nil:
		return "binpkg"
	case s.Dir != nil:
		return "dir"
	}
	return ""
}

// DependsOnBase tells whether what the base has decides what the source stands for. Packages of Debian that bring all
// their libraries (private) are the same for every base.
func (s *Source) DependsOnBase(private bool) bool { return s.Deb != nil && !private || s.Binpkg != nil }

// Question says what the source leaves open to be resolved, in one line, and nothing for a directory, which is all there.
// A lock file answers it, and is stale as soon as the recipe asks something else. Of packages of Debian, which bring all
// their libraries where the base has none of Debian's (private), another question is asked then.
func (s *Source) Question(private bool) string {
	words := []string{s.Kind()}
	switch {
	case s.Deb != nil:
		words = append(words, s.Deb.Suite)
		if private {
			words = append(words, "private")
		}
		words = appendNames(words, s.Deb.Packages, s.Deb.Without)
	case s.Go != nil:
		words = append(words, s.Go.Module, s.Go.Version)
	case s.URL != nil:
		words = append(words, s.URL.Address.Value, s.URL.Version)
		words = s.URL.Signature.append(appendArchNames(words, s.URL.ArchNames))
	case s.GitHub != nil:
		words = append(words, s.GitHub.Repository.Value, s.GitHub.Tag, s.GitHub.Asset.Value)
		words = s.GitHub.Signature.append(appendArchNames(words, s.GitHub.ArchNames))
	case s.Binpkg != nil:
		words = append(words, s.Binpkg.Release)
		words = appendNames(words, s.Binpkg.Packages, s.Binpkg.Without)
	default:
		return ""
	}
	return strings.Join(words, " ")
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
	for _, a := range []string{string(arch.AMD64), string(arch.ARM64)} {
		if name, set := names[a]; set {
			words = append(words, a+"="+name)
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

// Addresses are where the file for an architecture is, the first one first.
func (u *URL) Addresses(a arch.Arch) []string {
	fill := filler(u.Version, u.ArchNames, a)
	addresses := []string{fill.Replace(u.Address.Value)}
	for _, mirror := range u.Mirrors {
		addresses = append(addresses, fill.Replace(mirror.Value))
	}
	return addresses
}

// Digest is what the file for an architecture must hold.
func (u *URL) Digest(a arch.Arch) (digest.SHA256, bool) {
	for _, key := range []string{string(a), "all"} {
		if d, set := u.SHA256[key]; set {
			return d, true
		}
	}
	return digest.SHA256{}, false
}

// AssetFor is the pattern of the asset's name for an architecture.
func (g *GitHub) AssetFor(a arch.Arch) string {
	return filler(strings.TrimPrefix(g.Tag, "v"), g.ArchNames, a).Replace(g.Asset.Value)
}

// Fill fills in what an address or a name of a file leaves open.
func Fill(text, version string, names map[string]string, a arch.Arch) string {
	return filler(version, names, a).Replace(text)
}

// filler fills in what addresses and patterns leave open.
func filler(version string, names map[string]string, a arch.Arch) *strings.Replacer {
	return strings.NewReplacer("{version}", version, "{arch}", cmp.Or(names[string(a)], string(a)))
}
