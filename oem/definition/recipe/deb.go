package recipe

import (
	"maps"
	"regexp"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Deb is packages of the Debian archive, with their dependencies that the base lacks.
type Deb struct {
	Line     strictyaml.Line
	Suite    string            `yaml:"suite,required"`
	Packages []strictyaml.Text `yaml:"packages,required"`
	Without  []string          `yaml:"without"` // dependencies to leave out, such as those that only install scripts need
	// Reviewed are packages whose install scripts do what the image can do without, with the first digits of the scripts' SHA-256.
	Reviewed map[string]string `yaml:"reviewed"`
}

// Name is the kind's key.
func (*Deb) Name() string { return "deb" }

// Question names the suite and the packages.
func (d *Deb) Question(private bool) string {
	words := []string{d.Suite}
	if private {
		words = append(words, "private")
	}
	return question(d, appendNames(words, d.Packages, d.Without)...)
}

// DependsOnBase is false for packages that bring all their libraries: they are the same for every base.
func (*Deb) DependsOnBase(private bool) bool { return !private }

// Names as Debian policy 5.6.1 has them.
var validPackage = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)

func (d *Deb) check(c *checker) {
	if len(d.Packages) == 0 {
		c.add(d.Line, "no packages; wanted at least one")
	}
	for _, name := range d.Packages {
		c.packageName(name)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Reviewed)) {
		if !validReview.MatchString(d.Reviewed[name]) {
			c.add(d.Line, "reviewed: %s: %q; wanted 12 to 64 hexadecimal digits, as the error about the package says", name, d.Reviewed[name])
		}
	}
	c.suite(d.Line, d.Suite)
}

var validReview = regexp.MustCompile(`^[0-9a-f]{12,64}$`)
