package debian

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Packages are the packages of a suite and its pockets for one architecture, each in its highest version.
type Packages struct {
	suite, arch string
	byName      map[string]*candidate
	provides    map[string][]provided // by provided name
}

// candidate is the highest version of a package. Most of the 70 000 are never used, so further fields are parsed on demand.
type candidate struct {
	name, version, pocket string
	provides              string // field Provides
	text                  string // its stanza
}

// provided is a package that provides a name; version is empty if unversioned.
type provided struct {
	by      *candidate
	version string
	rank    int // of the package
}

// Pocket is the index of a suite or pocket, such as trixie-security, as Reduce returns it.
type Pocket struct{ Name, Text string }

// Load reads the indexes of a suite and its pockets, for an architecture.
func Load(suite, arch string, pockets []Pocket) (*Packages, error) {
	all := newPackages(suite, arch)
	for _, p := range pockets {
		if err := all.add(p.Name, p.Text); err != nil {
			return nil, fmt.Errorf("packages of %s: %w", p.Name, err)
		}
	}
	if err := all.collectProvides(); err != nil {
		return nil, err
	}
	return all, nil
}

// Version returns the version of a package, or "" when there is none.
func (p *Packages) Version(name string) string {
	if c := p.byName[name]; c != nil {
		return c.version
	}
	return ""
}

// Essential returns the names of the packages that every system of Debian has (Debian policy 3.8), in order.
func (p *Packages) Essential() []string {
	var names []string
	for name, c := range p.byName {
		if c.field("Essential") == "yes" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func newPackages(suite, arch string) *Packages {
	return &Packages{suite: suite, arch: arch, byName: map[string]*candidate{}, provides: map[string][]provided{}}
}

// add adds the packages of one pocket, each in its highest version. On a tie the pocket added first wins.
func (p *Packages) add(pocket, text string) error {
	var fields []field
	for text != "" {
		var one string
		one, text, _ = strings.Cut(text, "\n\n")
		var err error
		if fields, err = appendFields(fields[:0], one); err != nil {
			return err
		}
		c := newCandidate(pocket, one, fields)
		if !ValidName(c.name) || !ValidVersion(c.version) {
			return fmt.Errorf("package %q has the version %q; wanted a name and a version of Debian", c.name, c.version)
		}
		if best := p.byName[c.name]; best == nil || CompareVersions(c.version, best.version) > 0 {
			p.byName[c.name] = c
		}
	}
	return nil
}

func newCandidate(pocket, text string, fields []field) *candidate {
	c := &candidate{pocket: pocket, text: text}
	for _, f := range fields {
		switch f.name {
		case "Package":
			c.name = f.value
		case "Version":
			c.version = f.value
		case "Provides":
			c.provides = f.value
		}
	}
	return c
}

// collectProvides indexes providers by name, after all pockets are added.
// Providers are ordered by importance (field Priority), then by name.
func (p *Packages) collectProvides() error {
	for _, c := range p.byName {
		if c.provides == "" {
			continue
		}
		names, err := parseGroups(c.provides)
		if err != nil {
			return fmt.Errorf("package %s %s, field Provides: %w", c.name, c.version, err)
		}
		rank := c.rank()
		for _, name := range names {
			p.provides[name[0].name] = append(p.provides[name[0].name], provided{c, name[0].version, rank})
		}
	}
	for _, providers := range p.provides {
		slices.SortFunc(providers, func(a, b provided) int {
			return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.by.name, b.by.name), strings.Compare(a.version, b.version))
		})
	}
	return nil
}

// Status returns a dpkg status file in which the packages are installed, with the fields that ParseStatus reads.
func (p *Packages) Status(installed []Package) []byte {
	var out strings.Builder
	for _, one := range installed {
		fmt.Fprintf(&out, "Package: %s\nStatus: install ok installed\nVersion: %s\nArchitecture: %s\n", one.Name, one.Version, one.Architecture)
		if c := p.byName[one.Name]; c != nil && c.provides != "" {
			fmt.Fprintf(&out, "Provides: %s\n", c.provides)
		}
		out.WriteByte('\n')
	}
	return []byte(out.String())
}

// field returns a field of the candidate's stanza, or empty.
func (c *candidate) field(name string) string {
	for text := c.text; text != ""; {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if value, found := strings.CutPrefix(line, name+": "); found {
			return value
		}
	}
	return ""
}

// rank orders by importance (Debian policy 2.5); smaller is more important.
func (c *candidate) rank() int {
	known := []string{"required", "important", "standard", "optional", "extra"}
	if i := slices.Index(known, c.field("Priority")); i >= 0 {
		return i
	}
	return len(known)
}

// dependencies returns the candidate's dependencies: Pre-Depends, then Depends.
func (c *candidate) dependencies() ([]group, error) {
	var all []group
	for _, name := range []string{"Pre-Depends", "Depends"} {
		groups, err := parseGroups(c.field(name))
		if err != nil {
			return nil, fmt.Errorf("package %s %s, field %s: %w", c.name, c.version, name, err)
		}
		all = append(all, groups...)
	}
	return all, nil
}

// Depends tells whether a package's field Depends names another package.
func (p *Packages) Depends(name, on string) bool {
	c := p.byName[name]
	if c == nil {
		return false
	}
	groups, err := parseGroups(c.field("Depends"))
	return err == nil && slices.ContainsFunc(groups, func(g group) bool {
		return slices.ContainsFunc(g, func(r relation) bool { return r.name == on })
	})
}

// published converts the candidate to a Package.
func (c *candidate) published() (Package, error) {
	length, err := strconv.ParseInt(c.field("Size"), 10, 63)
	if err != nil {
		return Package{}, fmt.Errorf("package %s %s, field Size: %w", c.name, c.version, err)
	}
	sum, err := digest.Parse(c.field("SHA256"))
	if err != nil {
		return Package{}, fmt.Errorf("package %s %s, field SHA256: %w", c.name, c.version, err)
	}
	return Package{
		Name:         c.name,
		Version:      c.version,
		Architecture: c.field("Architecture"),
		Pocket:       c.pocket,
		Filename:     c.field("Filename"),
		Size:         size.Bytes(length),
		SHA256:       sum,
	}, nil
}
