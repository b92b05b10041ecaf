// Package binpkg reads Flatcar's Gentoo binary packages: the index Packages of a release, the dependencies that the base
// lacks, and the packages themselves (xpak).
//
// Neither index nor packages are signed, so their digests are pinned in reviewed lock files.
// Formats: portage(5), xpak(5), and the Package Manager Specification (PMS) for versions and dependencies.
package binpkg

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Package is one binary package of an index.
type Package struct {
	Category, Name, Version string
	Slot                    string // without sub-slot
	File                    string // path below the index's address
	Size                    size.Bytes
	SHA1                    string // hexadecimal; empty if the index has none

	needs []any // RDEPEND and PDEPEND
}

// CPN returns category and name, as recipes name a package.
func (p *Package) CPN() string { return p.Category + "/" + p.Name }

// Index are the packages of one release for one architecture.
type Index struct {
	Arch   string
	byName map[string][]*Package // by category and name, highest version first

	announced int // packages, by the header
}

// Limits of an index. Flatcar's have 700 packages and 2 MB.
const (
	maxPackages = 50_000
	maxLine     = 1 << 20
)

// ReadIndex reads an index.
func ReadIndex(in io.Reader) (*Index, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	index := &Index{byName: map[string][]*Package{}}
	fields, stanzas, number := map[string]string{}, 0, 0
	end := func() error {
		if len(fields) == 0 {
			return nil
		}
		defer func() { fields = map[string]string{} }()
		if stanzas++; stanzas > maxPackages {
			return fmt.Errorf("more than %d packages", maxPackages)
		}
		return index.add(fields, stanzas == 1)
	}
	for lines.Scan() {
		number++
		line := lines.Text()
		name, value, isField := strings.Cut(line, ":")
		switch {
		case line == "":
			if err := end(); err != nil {
				return nil, fmt.Errorf("stanza that ends on line %d: %w", number, err)
			}
		case !isField:
			return nil, fmt.Errorf("line %d: %.80q; wanted KEY: value", number, line)
		case !fieldName.MatchString(name):
			return nil, fmt.Errorf("line %d: field %.80q; wanted a name in capital letters", number, name)
		case value != "" && value[0] != ' ':
			return nil, fmt.Errorf("line %d: field %s: %.80q; wanted a space before the value", number, name, value)
		case foreign.Check(value) != nil:
			return nil, fmt.Errorf("line %d: field %s: %w", number, name, foreign.Check(value))
		default:
			if _, twice := fields[name]; twice {
				return nil, fmt.Errorf("line %d: field %s is in the stanza twice", number, name)
			}
			fields[name] = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	}
	if err := end(); err != nil {
		return nil, fmt.Errorf("last stanza: %w", err)
	}
	if index.Arch == "" {
		return nil, errors.New("is empty; wanted the header of an index")
	}
	if stanzas-1 != index.announced {
		return nil, fmt.Errorf("has %d packages, field PACKAGES of its header says %d; fetch it again", stanzas-1, index.announced)
	}
	return index, index.sort()
}

// fieldName is what fields of an index are called.
var fieldName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// add adds a stanza. The first one describes the index itself.
func (i *Index) add(fields map[string]string, isHeader bool) error {
	if isHeader {
		i.Arch = fields["ARCH"]
		if fields["CPV"] != "" || i.Arch == "" {
			return errors.New("the first stanza has no ARCH; wanted the header of an index")
		}
		announced, err := strconv.ParseUint(fields["PACKAGES"], 10, 31)
		if err != nil {
			return fmt.Errorf("PACKAGES is %q; wanted the number of packages", fields["PACKAGES"])
		}
		i.announced = int(announced)
		return nil
	}
	p, err := newPackage(fields)
	if err != nil {
		return fmt.Errorf("package %.80q: %w", fields["CPV"], err)
	}
	i.byName[p.CPN()] = append(i.byName[p.CPN()], p)
	return nil
}

// Forms of fields (portage(5), PMS 3.1.3).
var (
	sha1Pattern = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)
	md5Pattern  = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)
	slotPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9+_.-]*(/[A-Za-z0-9_][A-Za-z0-9+_.-]*)?$`)
)

func newPackage(fields map[string]string) (*Package, error) {
	category, name, version, err := splitCPV(fields["CPV"])
	if err != nil {
		return nil, err
	}
	for key, pattern := range map[string]*regexp.Regexp{"SHA1": sha1Pattern, "MD5": md5Pattern, "SLOT": slotPattern} {
		if value, given := fields[key]; given && !pattern.MatchString(value) {
			return nil, fmt.Errorf("%s is %.80q; wanted %v", key, value, pattern)
		}
	}
	p := &Package{Category: category, Name: name, Version: version, SHA1: strings.ToLower(fields["SHA1"])}
	p.Slot, _, _ = strings.Cut(fields["SLOT"], "/")
	if p.Slot == "" {
		p.Slot = "0"
	}
	if p.File = fields["PATH"]; p.File == "" {
		p.File = fields["CPV"] + ".tbz2"
	}
	if !fs.ValidPath(p.File) {
		return nil, fmt.Errorf("PATH %q is not below the index", p.File)
	}
	// Files are CATEGORY/NAME-VERSION.tbz2, or CATEGORY/NAME/NAME-VERSION-BUILD.xpak with several builds of one version.
	base := strings.TrimSuffix(strings.TrimSuffix(path.Base(p.File), ".tbz2"), ".xpak")
	if base != name+"-"+version && !strings.HasPrefix(base, name+"-"+version+"-") || !strings.HasPrefix(p.File, category+"/") {
		return nil, fmt.Errorf("PATH %q is not of this package; wanted %s/%s-%s.tbz2", p.File, category, name, version)
	}
	length, err := strconv.ParseUint(fields["SIZE"], 10, 62)
	if err != nil || length == 0 {
		return nil, fmt.Errorf("SIZE is %q; wanted a number of bytes", fields["SIZE"])
	}
	p.Size = size.Bytes(length)
	for _, key := range []string{"RDEPEND", "PDEPEND"} {
		needs, err := parseDependencies(fields[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		p.needs = append(p.needs, needs...)
	}
	return p, nil
}
