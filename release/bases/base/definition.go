package base

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
)

// embedded holds definitions/ID.yaml, and what goes on top of the packages' files:
// files/root in the base (its etc is the default /etc), files/initrd in the initramfs,
// files/two-stage in one of two stages.
//
//go:embed definitions all:files
var embedded embed.FS

// Definition says what a reference base is made of.
type Definition struct {
	ID       string   `yaml:"id,required"`
	Suite    string   `yaml:"suite,required"` // of Debian
	Like     string   `yaml:"like" json:"-"`  // the definition whose lists come before this one's own
	Packages []string `yaml:"packages"`       // what the base holds, together with what these depend on
	Without  []string `yaml:"without"`        // dependencies that are left out all the same
	Build    []string `yaml:"build"`          // installed while the base is made
	Exclude  []string `yaml:"exclude"`        // shell patterns of absolute paths that are not unpacked
	Prune    []string `yaml:"prune"`          // patterns of paths, relative to the root, that are removed at the end
	Links    []Link   `yaml:"links"`          // made at the end
	Initrd   Initrd   `yaml:"initrd"`

	// Confext says that the default /etc is merged as a configuration extension, too, as on Flatcar since 4628.
	Confext bool `yaml:"confext" json:",omitempty"`
}

// Link is a symbolic link.
type Link struct {
	Path   string `yaml:"path,required"` // relative to the root
	Target string `yaml:"target,required"`
}

// Initrd says what dracut puts into the initramfs.
type Initrd struct {
	Modules  []string `yaml:"modules"`  // of dracut
	Drivers  []string `yaml:"drivers"`  // of the kernel
	Programs []string `yaml:"programs"` // of the base
	Links    []Link   `yaml:"links"`

	// TwoStage says that what dracut makes becomes Flatcar's bootengine.img in /usr, and that a small initramfs leads there.
	TwoStage bool `yaml:"two_stage" json:",omitempty"`
}

// Load reads the definition with this id.
func Load(id string) (Definition, error) {
	name := path.Join("definitions", id+".yaml")
	content, err := embedded.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Definition{}, fmt.Errorf("no reference base %q; there is %s", id, strings.Join(IDs(), ", "))
	}
	if err != nil {
		return Definition{}, err
	}
	return parse(name, content)
}

// IDs lists the definitions.
func IDs() []string {
	names, err := fs.Glob(embedded, "definitions/*.yaml")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for i, name := range names {
		names[i] = strings.TrimSuffix(path.Base(name), ".yaml")
	}
	return names
}

func parse(name string, content []byte) (Definition, error) {
	var def Definition
	if err := strictyaml.Decode(name, content, &def).Err(); err != nil {
		return def, err
	}
	if def.Like != "" {
		like, err := Load(def.Like)
		if err != nil {
			return def, fmt.Errorf("%s: like: %w", name, err)
		}
		def = def.on(like)
	}
	if len(def.Packages) == 0 {
		return def, fmt.Errorf("%s: no packages; wanted some, or like: with another definition's id", name)
	}
	return def, nil
}

// on returns the definition with the lists of another one before its own.
func (d Definition) on(like Definition) Definition {
	d.Packages = slices.Concat(like.Packages, d.Packages)
	d.Without = slices.Concat(like.Without, d.Without)
	d.Build = slices.Concat(like.Build, d.Build)
	d.Exclude = slices.Concat(like.Exclude, d.Exclude)
	d.Prune = slices.Concat(like.Prune, d.Prune)
	d.Links = slices.Concat(like.Links, d.Links)
	d.Initrd.Modules = slices.Concat(like.Initrd.Modules, d.Initrd.Modules)
	d.Initrd.Drivers = slices.Concat(like.Initrd.Drivers, d.Initrd.Drivers)
	d.Initrd.Programs = slices.Concat(like.Initrd.Programs, d.Initrd.Programs)
	d.Initrd.Links = slices.Concat(like.Initrd.Links, d.Initrd.Links)
	return d
}
