package release

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/fit"
	"github.com/flatcar/oem-sysext/oem/size"
	"github.com/flatcar/oem-sysext/release/base"
	"github.com/flatcar/oem-sysext/release/btrfs"
)

func TestBudgetsAreFlatcars(t *testing.T) {
	for _, id := range base.IDs() {
		chosen, room, err := loadProfile(budgetsYAML, DefaultProfile, id, nil)
		if err != nil {
			t.Fatal(err)
		}
		if room.Filesystem.Bytes != btrfs.FlatcarFilesystem || room.Payload.Bytes != btrfs.FlatcarPartition || room.OEMPartition.Bytes != 128*size.MiB {
			t.Errorf("base %s goes to %+v; machines of before have less", id, room)
		}
		if diff := cmp.Diff(placement{fit.InUsr}, chosen.places("azure")); diff != "" {
			t.Error(diff)
		}
	}
}

const someBudgets = `layouts:
  small: {filesystem: 1 MiB, payload: 2 MiB, oem_partition: 3 MiB, boot: 4 MiB}
bases: {trixie: small}
profiles:
  default:
    headroom: 5 KiB
    images: 6 KiB
    max_images: "2"
    placement: {azure: "usr, oem-partition", gce: both}
`

func TestProfileChoosesPlacements(t *testing.T) {
	chosen, room, err := loadProfile([]byte(someBudgets), "default", "trixie", []string{"azure", "gce", "qemu"})
	if err != nil {
		t.Fatal(err)
	}
	if room.Boot.Bytes != 4*size.MiB || chosen.Images.Bytes != 6*size.KiB || chosen.MaxImages != 2 {
		t.Errorf("read %+v, %+v", chosen, room)
	}
	for id, want := range map[string]placement{"azure": {fit.InUsr, fit.OnOEM}, "gce": {fit.InBothPlaces}, "qemu": {fit.InUsr}} {
		if diff := cmp.Diff(want, chosen.places(id)); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
}

func TestMistakesInBudgets(t *testing.T) {
	for want, change := range map[string][2]string{
		`budgets.yaml:9: "attic"; wanted usr, oem-partition or both`: {"both", "attic"},
		`placement of "gcp", which is no platform`:                   {"gce: both", "gcp: both"},
		`no layout "large" for base trixie`:                          {"trixie: small", "trixie: large"},
		`"0"; wanted a number of images from 1 to 128`:               {`"2"`, `"0"`},
		`headrom`: {"headroom", "headrom"},
	} {
		content := strings.Replace(someBudgets, change[0], change[1], 1)
		_, _, err := loadProfile([]byte(content), "default", "trixie", []string{"azure", "gce"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}
