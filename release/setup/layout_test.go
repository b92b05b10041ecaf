package setup

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/definition"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// Every profile of the tree can be read, and goes to machines of before.
func TestProfilesOfTheTree(t *testing.T) {
	const checkout = "../.."
	platforms, recipes, err := definition.All(os.DirFS(checkout))
	if err != nil {
		t.Fatal(err)
	}
	names := profiles.Names(os.DirFS(checkout))
	if len(names) == 0 {
		t.Errorf("there are the profiles %v", names)
	}
	for _, name := range names {
		p, err := profiles.Load(checkout, name, profiles.Known{Platforms: PlatformIDs(platforms), Recipes: slices.Sorted(maps.Keys(recipes))})
		if err != nil {
			t.Error(err)
			continue
		}
		for _, id := range base.IDs() {
			room, err := layoutOf(checkout, p, id)
			if err != nil {
				t.Fatal(err)
			}
			if room.Filesystem.Bytes != btrfs.FlatcarFilesystem || room.Payload.Bytes != btrfs.FlatcarPartition || room.OEMPartition.Bytes != 128*size.MiB {
				t.Errorf("%s goes to %+v; machines of before have less", id, room)
			}
		}
	}
}

func TestMistakesInLayouts(t *testing.T) {
	const some = "layouts:\n  small: {filesystem: 1065345024 B, payload: 1 GiB, oem_partition: 3 MiB, boot: 4 MiB, network_boot: 5 MiB}\nbases: {trixie: small}\n"
	profile := func(layout string) *profiles.Profile {
		return &profiles.Profile{File: "mine.yaml", Layout: strictyaml.Text{Value: layout, Line: 3}}
	}
	if room, err := layoutIn([]byte(some), profile(""), "trixie"); err != nil || room.Boot.Bytes != 4*size.MiB {
		t.Errorf("%+v, %v", room, err)
	}
	for want, c := range map[string]struct{ content, layout string }{
		`no layout "large" for base trixie`:                                            {strings.Replace(some, "trixie: small", "trixie: large", 1), ""},
		`no layout "tiny" for mine.yaml:3`:                                             {some, "tiny"},
		`layouts.yaml:2: unknown key "payld"`:                                          {strings.Replace(some, "payload", "payld", 1), ""},
		`layouts.yaml:2: payload: a limit of 0; wanted`:                                {strings.Replace(some, "1 GiB", "0 MiB", 1), ""},
		`layouts.yaml: layout small: filesystem is 1048576 B; wanted 1065345024 B`:     {strings.Replace(some, "1065345024 B", "1 MiB", 1), ""},
		`layouts.yaml: layout small: payload is 2147483648 B; wanted 1073741824 B, as`: {strings.Replace(some, "1 GiB", "2 GiB", 1), "small"},
	} {
		if _, err := layoutIn([]byte(c.content), profile(c.layout), "trixie"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}
