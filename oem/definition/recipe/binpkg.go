package recipe

import (
	"regexp"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Binpkg is binary packages of a Flatcar release, with their dependencies that the base lacks.
type Binpkg struct {
	Line     strictyaml.Line
	Release  string            `yaml:"release,required"` // such as 4593.1.0, or "base" for that of the base
	Packages []strictyaml.Text `yaml:"packages,required"`
	Without  []string          `yaml:"without"`
}

// ofBase is the release of the base, whichever it is.
const ofBase = "base"

// Name is the kind's key.
func (*Binpkg) Name() string { return "binpkg" }

// Question names the release and the packages.
func (b *Binpkg) Question(bool) string {
	return question(b, appendNames([]string{b.Release}, b.Packages, b.Without)...)
}

// DependsOnBase is true: packages of the base are left out.
func (*Binpkg) DependsOnBase(bool) bool { return true }

// Names as Gentoo's Package Manager Specification 3.1 has them, and versions of Flatcar.
var (
	validCPN     = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9+_.-]*/[A-Za-z0-9_][A-Za-z0-9+_-]*$`)
	validRelease = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(\+[A-Za-z0-9.+-]+)?$`)
)

func (b *Binpkg) check(c *checker) {
	if b.Release != ofBase && !validRelease.MatchString(b.Release) {
		c.add(b.Line, "release %q; wanted a Flatcar release such as 4593.1.0, or base for that of the base", b.Release)
	}
	for _, name := range b.Packages {
		if !validCPN.MatchString(name.Value) {
			c.add(name.Line, "packages: %q is not a package; wanted CATEGORY/NAME such as app-emulation/open-vm-tools", name)
		}
	}
	if len(b.Packages) == 0 {
		c.add(b.Line, "no packages; wanted at least one")
	}
}
