package release

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/needs"
	"github.com/flatcar/oem-sysext/release/base"
	"github.com/flatcar/oem-sysext/release/vm"
)

// TestReleaseBoots boots what was written to the release directory. QEMU's own markers make it QEMU's images that are activated.
func TestReleaseBoots(t *testing.T) {
	theRelease(t)
	needs.Programs(t, vm.Programs()...)
	accel, err := vm.Probe(t.Context(), file(kernelFile))
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := vm.MakeDisk(t.Context(), made.workshop.tools, disk, []vm.Partition{vm.UsrA(file(partitionFile))}); err != nil {
		t.Fatal(err)
	}
	report, err := vm.Boot(t.Context(), vm.Machine{
		Accel: accel, Kernel: file(kernelFile), Initrd: file(initrdFile), Disk: disk,
		Arguments: base.KernelArguments(vm.UsrAUUID, made.manifest.Partition.RootHash),
		Dir:       t.TempDir(), Timeout: 5 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %+v", accel.Name, report)
	slices.Sort(report.Merged) // systemd's order counts numbers in names
	if err := report.Check(made.manifest.Base.VersionID, activates("qemu")); err != nil {
		t.Error(err)
	}
}

// activates returns the images that make up a platform, in the order of their names.
func activates(id string) []string {
	for _, p := range made.manifest.Platforms {
		if p.ID == id {
			return slices.Sorted(slices.Values(p.Activates))
		}
	}
	return nil
}
