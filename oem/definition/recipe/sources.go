package recipe

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

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

// Fill fills in what an address or a name of a file leaves open.
func Fill(text, version string, names map[string]string, a arch.Arch) string {
	return filler(version, names, a).Replace(text)
}

// filler fills in what addresses and patterns leave open.
func filler(version string, names map[string]string, a arch.Arch) *strings.Replacer {
	return strings.NewReplacer("{version}", version, "{arch}", cmp.Or(names[string(a)], string(a)))
}
