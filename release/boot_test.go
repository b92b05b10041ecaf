package release

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/needs"
	"github.com/flatcar/oem-sysext/release/base"
	"github.com/flatcar/oem-sysext/release/vm"
)

// TestReleaseBoots boots what was written to the release directory, with the images embedded and none activated.
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
	if err := report.Check(made.manifest.Base.VersionID, nil); err != nil {
		t.Error(err)
	}
}
