package recipe

import "github.com/flatcar/oem-sysext/oem/definition/strictyaml"

// Dir is a directory beside the definition that is copied into the image.
type Dir struct {
	Path strictyaml.Text `yaml:"path,required"`
	To   Path            `yaml:"to,required"`
}

// Name is the kind's key.
func (*Dir) Name() string { return "dir" }

// Question is empty: there is nothing to look up.
func (*Dir) Question(bool) string { return "" }

// DependsOnBase is false: a directory is the same for every base.
func (*Dir) DependsOnBase(bool) bool { return false }

func (d *Dir) check(c *checker) { c.directory(d.Path, string(d.To)) }
