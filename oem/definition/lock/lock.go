// Package lock reads and writes lock files: recipes/NAME/recipe.lock has, for each source of a recipe and each
// architecture, the files that it resolves to, by address, size and digest.
//
// Sources are identified by their question (recipe.Source.Question), so a change in a recipe makes only the entries
// of the changed sources stale. Addresses are relative to what the host configures (the Debian archive,
// the module proxy, GitHub, the mirror of binary packages), or absolute if the recipe has them.
package lock

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// FileName is the name of a lock file, beside the recipe.
const FileName = "recipe.lock"

// Command is the command that updates a recipe's lock file.
func Command(recipe string) string { return "scripts/mage recipe:lock " + recipe }

// Lock is one lock file. The zero value has no answers.
type Lock struct {
	Sources []Source `yaml:"sources,required"`
}

// Source is the answer for one source.
type Source struct {
	Source string `yaml:"source,required"` // its question
	Base   string `yaml:"base"`            // the base whose packages were left out; empty if the answer is the same for every base
	AMD64  []Pin  `yaml:"amd64"`           // nil: not answered
	ARM64  []Pin  `yaml:"arm64"`
}

// Pin is one file.
type Pin struct {
	Name    string `yaml:"name,required"`
	Version string `yaml:"version,required"`
	From    string `yaml:"from"` // the Debian suite or pocket that has it
	File    string `yaml:"file,required"`
	Size    Size   `yaml:"size,required"`
	Digest  Digest `yaml:"digest,required"`
}

// Size is a number of bytes in plain digits.
type Size size.Bytes

// UnmarshalText reads digits.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 63)
	if err != nil || n < 0 {
		return fmt.Errorf("size %q; wanted a number of bytes", text)
	}
	*s = Size(n)
	return nil
}

// Digest is "sha256:" and 64 hexadecimal digits, or a module's "h1:" sum.
type Digest string

// UnmarshalText refuses other kinds of digests.
func (d *Digest) UnmarshalText(text []byte) error {
	if digits, isSHA256 := strings.CutPrefix(string(text), "sha256:"); isSHA256 {
		if _, err := digest.Parse(digits); err != nil {
			return err
		}
	} else if !strings.HasPrefix(string(text), "h1:") {
		return fmt.Errorf("digest %q; wanted sha256:… or h1:…", text)
	}
	*d = Digest(text)
	return nil
}

// OfSHA256 returns the digest as lock files spell it.
func OfSHA256(d digest.SHA256) Digest { return Digest("sha256:" + d.String()) }

// SHA256 returns the digest of a pin that is not a module.
func (p Pin) SHA256() digest.SHA256 {
	d, err := digest.Parse(strings.TrimPrefix(string(p.Digest), "sha256:"))
	if err != nil {
		return digest.SHA256{} // zero, which every download refuses
	}
	return d
}

// Read reads a lock file of fsys. A missing one has no answers.
func Read(fsys fs.FS, name string) (*Lock, error) {
	content, err := fs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{}, nil
	}
	if err != nil {
		return nil, err
	}
	return parse(name, content)
}

func parse(name string, content []byte) (*Lock, error) {
	var l Lock
	if err := strictyaml.Decode(name, content, &l).Err(); err != nil {
		return nil, err
	}
	for _, s := range l.Sources {
		for _, p := range slices.Concat(s.AMD64, s.ARM64) {
			if !fs.ValidPath(strings.TrimPrefix(strings.TrimPrefix(p.File, "https://"), "http://")) {
				return nil, fmt.Errorf("%s: %s %s: the file %q is neither an address nor a path", name, p.Name, p.Version, p.File)
			}
		}
	}
	return &l, nil
}

// Find returns the answer to a question for a base and an architecture, if there is one.
func (l *Lock) Find(question, base string, a arch.Arch) ([]Pin, bool) {
	for _, s := range l.Sources {
		if s.Source == question && (s.Base == "" || s.Base == base) {
			pins := s.pins(a)
			return *pins, *pins != nil
		}
	}
	return nil, false
}

// Has tells whether there is an answer to a question for a base, on any architecture.
func (l *Lock) Has(question, base string) bool {
	return slices.ContainsFunc(l.Sources, func(s Source) bool { return s.Source == question && s.Base == base })
}

// Set adds an answer. It replaces one to the same question for another base.
func (l *Lock) Set(question, base string, a arch.Arch, pins []Pin) {
	if pins == nil {
		pins = []Pin{} // an empty answer, not a missing one
	}
	at := slices.IndexFunc(l.Sources, func(s Source) bool { return s.Source == question && s.Base == base })
	if at < 0 {
		l.Sources = append(l.Sources, Source{Source: question, Base: base})
		at = len(l.Sources) - 1
	}
	*l.Sources[at].pins(a) = pins
}

func (s *Source) pins(a arch.Arch) *[]Pin {
	if a == arch.ARM64 {
		return &s.ARM64
	}
	return &s.AMD64
}

// Encode writes the file, one line for each pin, which keeps diffs readable. What parse would refuse is not written.
func (l *Lock) Encode(recipe string) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Written by %s. Review it, do not edit it.\n", Command(recipe))
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	sources := append([]Source{}, l.Sources...) // never nil, so that it is written as a list
	if err := encoder.Encode(mapping(0, field{"sources", list(sources, Source.node)})); err != nil {
		return nil, err
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	_, err := parse("the new lock file of "+recipe, out.Bytes()) // names and versions are others' text
	return out.Bytes(), err
}

func (s Source) node() *yaml.Node {
	return mapping(0,
		field{"source", text(s.Source)}, field{"base", optional(s.Base)},
		field{string(arch.AMD64), list(s.AMD64, Pin.node)}, field{string(arch.ARM64), list(s.ARM64, Pin.node)})
}

// node is the pin as one line of YAML.
func (p Pin) node() *yaml.Node {
	return mapping(yaml.FlowStyle,
		field{"name", text(p.Name)}, field{"version", text(p.Version)}, field{"from", optional(p.From)}, field{"file", text(p.File)},
		field{"size", text(strconv.FormatInt(int64(p.Size), 10))}, field{"digest", text(string(p.Digest))})
}

// field is a key of a mapping. One without a value is left out.
type field struct {
	key   string
	value *yaml.Node
}

func mapping(style yaml.Style, fields ...field) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode, Style: style}
	for _, f := range fields {
		if f.value != nil {
			node.Content = append(node.Content, text(f.key), f.value)
		}
	}
	return node
}

// list returns nil for nil, which unlike an empty list is no answer.
func list[T any](items []T, each func(T) *yaml.Node) *yaml.Node {
	if items == nil {
		return nil
	}
	node := &yaml.Node{Kind: yaml.SequenceNode}
	for _, item := range items {
		node.Content = append(node.Content, each(item))
	}
	return node
}

// text is a scalar that is read back unchanged: texts that YAML would read as null are quoted.
func text(value string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: value}
	if node.ShortTag() == "!!null" {
		node.Style = yaml.SingleQuotedStyle
	}
	return node
}

func optional(value string) *yaml.Node {
	if value == "" {
		return nil
	}
	return text(value)
}
