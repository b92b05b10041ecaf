package recipe

import (
	"path"
	"regexp"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// GitHub is an asset of a release on GitHub. Its digest is in the lock file.
type GitHub struct {
	Line       strictyaml.Line
	Repository strictyaml.Text   `yaml:"repository,required"` // owner/name
	Tag        string            `yaml:"tag,required"`
	Asset      strictyaml.Text   `yaml:"asset,required"` // pattern for its name, such as tool_*_linux_{arch}.tar.gz
	ArchNames  map[string]string `yaml:"arch_names"`
	Signature  *Signature        `yaml:"signature"`
	Unpack     Unpack            `yaml:"unpack"`
	Update     Pattern           `yaml:"update"` // tags that count as newer versions; all if empty
}

// Name is the kind's key.
func (*GitHub) Name() string { return "github" }

// Question names the release, the asset, and the key of the signature.
func (g *GitHub) Question(bool) string {
	words := []string{g.Repository.Value, g.Tag, g.Asset.Value}
	return question(g, g.Signature.append(appendArchNames(words, g.ArchNames))...)
}

// DependsOnBase is false: an asset is the same for every base.
func (*GitHub) DependsOnBase(bool) bool { return false }

// AssetFor is the pattern of the asset's name for an architecture.
func (g *GitHub) AssetFor(a arch.Arch) string {
	return filler(strings.TrimPrefix(g.Tag, "v"), g.ArchNames, a).Replace(g.Asset.Value)
}

// Names as GitHub has them.
var validRepository = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$`)

func (g *GitHub) check(c *checker) {
	if !validRepository.MatchString(g.Repository.Value) {
		c.add(g.Repository.Line, "repository: %q is not a repository; wanted OWNER/NAME", g.Repository)
	}
	if _, err := path.Match(g.Asset.Value, ""); err != nil || strings.Contains(g.Asset.Value, "/") {
		c.add(g.Asset.Line, "asset %q; wanted a name; * and ? are wildcards", g.Asset)
	}
	c.archNames(g.Line, g.ArchNames)
	c.signature(g.Signature)
	c.unpack(g.Line, g.Unpack)
}
