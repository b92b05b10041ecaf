package trial

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/setup"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// TestTrial boots a platform's image as platform:boot does.
func TestTrial(t *testing.T) {
	testrelease.Needs(t)
	trial, err := Try(t.Context(), testrelease.Fresh(t), "akamai")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", trial)
	if err := trial.Check(setup.DefaultVersion, []string{"oem-akamai"}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]string{"oem-setup.service": "active", "chrony.service": "active"}, trial.Units); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(detect.Verdict{ID: "akamai"}, trial.Verdict); diff != "" {
		t.Error(diff)
	}
}

// TestDamagedDisk shows that the same machine does not come up with another root hash, nor with another bit on its disk.
func TestDamagedDisk(t *testing.T) {
	testrelease.Needs(t)
	o := testrelease.Fresh(t)
	o.Platforms = []string{"akamai"}
	r, err := release.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Bench.Close()
	m, err := machine(t.Context(), r, r.Choice.Chosen[0])
	if err != nil {
		t.Fatal(err)
	}
	sound := m.Arguments
	m.Arguments = base.KernelArguments(disks.UsrAUUID, digest.Of(nil))
	mustNotBoot(t, m)
	m.Arguments = sound
	flipBit(t, m.Disk, int64(size.MiB)+64<<10+72) // in btrfs's superblock, at the generation
	mustNotBoot(t, m)
}

func flipBit(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var one [1]byte
	if _, err := f.ReadAt(one[:], at); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1
	if _, err := f.WriteAt(one[:], at); err != nil {
		t.Fatal(err)
	}
}

// mustNotBoot wants verity to end the boot, as soon as it sees what is wrong.
func mustNotBoot(t *testing.T, m vm.Machine) {
	t.Helper()
	report, err := vm.Boot(t.Context(), m, vm.Question{})
	if err == nil {
		t.Fatalf("it booted: %+v", report)
	}
	if !strings.Contains(err.Error(), "Kernel panic - not syncing: dm-verity") {
		t.Errorf("verity did not stop it: %v", err)
	}
}
