package base

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/strictyaml"
)

// embedded holds definitions/ID.yaml, and what goes on top of the packages' files:
// files/root in the base (its etc is the default /etc), files/initrd in the initramfs.
//
//go:embed definitions all:files
var embedded embed.FS

// Definition says what a reference base is made of.
type Definition struct {
	ID       string   `yaml:"id,required"`
	Suite    string   `yaml:"suite,required"`    // of Debian
	Packages []string `yaml:"packages,required"` // what the base holds, together with what these depend on
	Without  []string `yaml:"without"`           // dependencies that are left out all the same
	Build    []string `yaml:"build"`             // installed while the base is made
	Exclude  []string `yaml:"exclude"`           // shell patterns of absolute paths that are not unpacked
	Prune    []string `yaml:"prune"`             // patterns of paths, relative to the root, that are removed at the end
	Links    []Link   `yaml:"links"`             // made at the end
	Initrd   Initrd   `yaml:"initrd"`
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
	return def, strictyaml.Decode(name, content, &def).Err()
}
