// Package profiles reads profiles, which define the content of a release: NAME.yaml beside this file, or a file elsewhere.
//
// In: a checkout and a name or a path. Out: the profile, or every mistake in its file by line. The platforms, recipes and files
// that it names must exist. Nothing is fetched.
package profiles

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/near"
	"github.com/flatcar/oem-sysext/oem/host/rooted"
	"github.com/flatcar/oem-sysext/oem/image/budget"
)

// Dir is the directory of profiles in a checkout, Default the name of the default profile.
const (
	Dir     = "release/profiles"
	Default = "default"
)

// Profile is the content of a release and its budgets.
type Profile struct {
	Summary   string                     `yaml:"summary,required"`
	Base      string                     `yaml:"base"`              // the OS release, unless BASE is set
	Platforms []strictyaml.Text          `yaml:"platforms"`         // ids of platforms whose tools are in it; all by default
	Layout    strictyaml.Text            `yaml:"layout"`            // in release/layouts.yaml; the base's by default
	Headroom  recipe.Limit               `yaml:"headroom,required"` // kept free in the file system
	Images    recipe.Limit               `yaml:"images,required"`   // budget of all embedded images together
	MaxImages Count                      `yaml:"max_images,required"`
	Placement map[strictyaml.Text]Places `yaml:"placement"` // where a platform's tools may go; usr by default

	// Also tools that Flatcar's own images do not have: the platforms' extras.
	Extras bool `yaml:"extras"`
	// Where the platforms' tools come from: recipes, upstream, repacked, or lists of platforms for the latter two.
	OEM OEM `yaml:"oem"`
	// Extensions beside the OEM tools.
	Extensions []Extension `yaml:"extensions"`
	// The update server of its machines; the base's by default.
	Update *Update `yaml:"update"`

	Name string `yaml:"-"` // of the file, without suffix
	File string `yaml:"-"` // for messages
	Dir  string `yaml:"-"` // base of relative paths in it
}

// Count is the number of images that a platform may activate.
type Count int

const maxCount = 128

// UnmarshalText refuses everything but a number from 1 to 128.
func (c *Count) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > maxCount {
		return fmt.Errorf("%q; wanted a number of images from 1 to %d", text, maxCount)
	}
	*c = Count(n)
	return nil
}

// Places is where a platform's tools may go, first choice first.
type Places []budget.Placement

var places = []budget.Placement{budget.InUsr, budget.OnOEM, budget.InBothPlaces}

// UnmarshalText reads one place, or several with commas between them.
func (p *Places) UnmarshalText(text []byte) error {
	for name := range strings.SplitSeq(string(text), ",") {
		place := budget.Placement(strings.TrimSpace(name))
		if !slices.Contains(places, place) || slices.Contains(*p, place) {
			return fmt.Errorf("%q; wanted usr, oem-partition or both, or several of them, such as \"usr, oem-partition\"", text)
		}
		*p = append(*p, place)
	}
	return nil
}

// Of returns the places for a platform's tools.
func (p *Profile) Of(platform string) Places {
	for id, chosen := range p.Placement {
		if id.Value == platform {
			return chosen
		}
	}
	return Places{budget.InUsr}
}

// PlatformIDs returns the ids of the platforms in the profile.
func (p *Profile) PlatformIDs() []string {
	var ids []string
	for _, id := range p.Platforms {
		ids = append(ids, id.Value)
	}
	return ids
}

// Load reads a profile by its name in a checkout, or by the path of its file. known are the names that it may use.
func Load(checkout, name string, known Known) (*Profile, error) {
	p := &Profile{Name: name, File: path.Join(Dir, name+".yaml"), Dir: filepath.Join(checkout, Dir)}
	file := filepath.Join(checkout, p.File)
	if isPath(name) {
		p.Name, p.File, p.Dir = strings.TrimSuffix(filepath.Base(name), ".yaml"), name, filepath.Dir(name)
		file = name
	} else if !validName.MatchString(name) {
		return nil, fmt.Errorf("no profile %q; wanted a name in %s or the path of a file", name, Dir)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("no profile %q: %w; %s has %s", name, err, Dir, strings.Join(Names(rooted.Files(checkout)), ", "))
	}
	mistakes := strictyaml.Decode(p.File, content, p)
	return p, append(mistakes, p.check(known)...).Err()
}

// isPath reports whether a text is a path and not a name.
func isPath(name string) bool {
	return strings.ContainsRune(name, '/') || strings.HasSuffix(name, ".yaml")
}

// Names returns the names of the profiles in a checkout.
func Names(checkout fs.FS) []string {
	var names []string
	files, err := fs.Glob(checkout, path.Join(Dir, "*.yaml"))
	if err != nil {
		return nil // cannot happen: the pattern is a constant
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(path.Base(file), ".yaml"))
	}
	return names
}

// Known is what a profile may name.
type Known struct {
	Platforms []string // ids
	Recipes   []string // names
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+-]*$`)

// check finds the mistakes that strictyaml does not.
func (p *Profile) check(known Known) strictyaml.Mistakes {
	c := checker{profile: p, known: known}
	for _, id := range p.Platforms {
		c.platform(id, "platforms")
	}
	for id := range p.Placement {
		c.platform(id, "placement")
	}
	c.oem()
	c.extensions()
	c.update()
	return c.mistakes
}

type checker struct {
	profile  *Profile
	known    Known
	mistakes strictyaml.Mistakes
}

func (c *checker) add(line strictyaml.Line, format string, args ...any) {
	c.mistakes = append(c.mistakes, strictyaml.Mistake{File: c.profile.File, Line: max(line, 1), Text: fmt.Sprintf(format, args...)})
}

func (c *checker) platform(id strictyaml.Text, key string) {
	if !slices.Contains(c.known.Platforms, id.Value) {
		c.add(id.Line, "%s: no platform %q; %s", key, id, near.Wanted(id.Value, c.known.Platforms))
	}
}
