package composed

import (
	"slices"
	"testing"

	"github.com/flatcar/oem-sysext/release/plan/compose"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// Each assertion about a composed machine is fulfilled by what such a machine said, and not by what is wrong with another one.
func TestComposedMachine(t *testing.T) {
	step := composeSteps[0]
	images := []string{"dos2unix", "oem-qemu"}
	sound := func() vm.Report {
		return vm.Report{
			State: "running", MultiUser: "active", Merged: slices.Clone(images), Linked: "linked dos2unix 1: some\n" + step.says,
			Backing:   []string{"/run/oem/images/dos2unix.raw.v/dos2unix_1.raw", "/run/oem/images/oem-qemu.raw"},
			There:     []string{"/usr/bin/dos2unix", "/usr/bin/figlet-figlet"},
			OSRelease: map[string]string{compose.FlattenedKey: "figlet", "ID": "flatcar", "VERSION_ID": "9999.0.0"},
			Usr:       "/dev/mapper/usr", Verity: "verified", Programs: 9,
			Extensions: []string{"extension-release.dos2unix", "extension-release.oem-qemu", "extension-release.figlet"},
		}
	}
	wrong := func(r vm.Report) []string {
		var assertions []string
		for _, o := range step.judge(step.expect("9999.0.0", images), r) {
			if o.Error != "" {
				assertions = append(assertions, o.Assertion)
			}
		}
		return assertions
	}
	below := sound()
	below.Backing[0] = "/share/flatcar/oem-sysext/dos2unix.raw.v/dos2unix_1.raw"
	for _, r := range []vm.Report{sound(), below} {
		if got := wrong(r); len(got) > 0 {
			t.Errorf("a sound machine is said to be wrong: %v", got)
		}
	}
	for want, spoil := range map[string]func(*vm.Report){
		"the system is up":                         func(r *vm.Report) { r.State = "degraded" },
		"exactly the platform's images are merged": func(r *vm.Report) { r.Merged = append(r.Merged, "tree") },
		"they are the embedded ones":               func(r *vm.Report) { r.Backing[0] = "/run/oem/images/dos2unix.raw.v/dos2unix_2.raw" },
		"no other platform's files are there":      func(r *vm.Report) { r.There = append(r.There, "/usr/bin/tree") },
		"required paths are there":                 func(r *vm.Report) { r.There = r.There[:1] },
		"os-release names what is part of /usr":    func(r *vm.Report) { delete(r.OSRelease, compose.FlattenedKey) },
		"one line says what is not there, or why":  func(r *vm.Report) { r.Linked += "\n" + step.says },
	} {
		r := sound()
		spoil(&r)
		if got := wrong(r); !slices.Equal(got, []string{want}) {
			t.Errorf("wrong is %v; wanted %q", got, want)
		}
	}
}
