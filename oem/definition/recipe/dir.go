package recipe

import "github.com/flatcar/oem-sysext/oem/definition/strictyaml"

// Dir is a directory beside the definition that is copied to a place of its own.
type Dir struct {
	Path strictyaml.Text `yaml:"path,required"`
	To   Path            `yaml:"to,required"`
}

// Name is the kind's key.
func (*Dir) Name() string { return "dir" }

// Question is empty: the directory is all there.
func (*Dir) Question(bool) string { return "" }

// DependsOnBase is false: a directory is the same for every base.
func (*Dir) DependsOnBase(bool) bool { return false }

func (d *Dir) check(c *checker) { c.directory(d.Path) }
