package recipe

import (
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// Go is a module from the module proxy.
type Go struct {
	Line    strictyaml.Line
	Module  string  `yaml:"module,required"`
	Version string  `yaml:"version,required"`
	Sum     string  `yaml:"sum,required"` // h1:…, as in go.sum
	Update  Pattern `yaml:"update"`       // versions that count as newer; all if empty
}

// Name is the kind's key.
func (*Go) Name() string { return "go" }

// Question names the module and its version.
func (g *Go) Question(bool) string { return question(g, g.Module, g.Version) }

// DependsOnBase is false: a module is the same for every base.
func (*Go) DependsOnBase(bool) bool { return false }

func (g *Go) check(c *checker) {
	if g.Version != "" && !strings.HasPrefix(g.Version, "v") {
		c.add(g.Line, "version %q; wanted an exact module version such as v1.2.3", g.Version)
	}
	if g.Sum != "" && !strings.HasPrefix(g.Sum, "h1:") {
		c.add(g.Line, "sum %q; wanted the module's h1: sum, which go mod download -json prints", g.Sum)
	}
}
