package setup

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// LayoutsFile defines the layouts of a checkout.
const LayoutsFile = "release/layouts.yaml"

// layouts is the content of LayoutsFile.
type layouts struct {
	Layouts map[string]Layout          `yaml:"layouts,required"`
	Bases   map[string]strictyaml.Text `yaml:"bases,required"`
}

// Layout is the room for a release on a kind of machine.
type Layout struct {
	Filesystem   recipe.Limit `yaml:"filesystem,required"`
	Payload      recipe.Limit `yaml:"payload,required"`
	OEMPartition recipe.Limit `yaml:"oem_partition,required"`
	Boot         recipe.Limit `yaml:"boot,required"`         // kernel and initramfs
	NetworkBoot  recipe.Limit `yaml:"network_boot,required"` // memory of a diskless machine
}

// layoutOf returns the profile's layout, or the base's.
func layoutOf(checkout string, p *profiles.Profile, baseID string) (Layout, error) {
	content, err := os.ReadFile(filepath.Join(checkout, LayoutsFile))
	if err != nil {
		return Layout{}, err
	}
	return layoutIn(content, p, baseID)
}

func layoutIn(content []byte, p *profiles.Profile, baseID string) (Layout, error) {
	var all layouts
	if err := strictyaml.Decode(LayoutsFile, content, &all).Err(); err != nil {
		return Layout{}, err
	}
	name, where := all.Bases[baseID].Value, "base "+baseID
	if p.Layout.Value != "" {
		name, where = p.Layout.Value, fmt.Sprintf("%s:%d", p.File, p.Layout.Line)
	}
	room, known := all.Layouts[name]
	if !known {
		there := strings.Join(slices.Sorted(maps.Keys(all.Layouts)), ", ")
		return Layout{}, fmt.Errorf("%s: no layout %q for %s; wanted one of %s", LayoutsFile, name, where, there)
	}
	return room, room.check(name)
}

// check refuses sizes that no existing machine has: the file system and the payload are not adjustable.
func (l Layout) check(name string) error {
	if l.Filesystem.Bytes != btrfs.FlatcarFilesystem {
		return fmt.Errorf("%s: layout %s: filesystem is %d B; wanted %d B, as on all machines",
			LayoutsFile, name, l.Filesystem.Bytes, btrfs.FlatcarFilesystem)
	}
	if l.Payload.Bytes != btrfs.FlatcarPartition {
		return fmt.Errorf("%s: layout %s: payload is %d B; wanted %d B, as on all machines",
			LayoutsFile, name, l.Payload.Bytes, btrfs.FlatcarPartition)
	}
	return nil
}
