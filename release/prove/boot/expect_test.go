package boot

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

var someExpectation = Expectation{
	VersionID: "1.0.0",
	Reason:    "ID=azure in /oem/oem-release",
	Images:    []string{"oem-azure", "oem-shared-1"},
	Units:     []string{"agent.service"},
	Requires:  []string{"/usr/bin/agent"},
	Files:     []string{"/usr/bin/agent", "/usr/share/x"},
	Foreign:   []string{"/usr/bin/other"},
	Works:     []platform.Work{{File: "a.yaml", Command: recipe.Command{Line: 1, Run: "agent -v", Says: "1.0"}}},
}

func sound() vm.Report {
	return vm.Report{
		State: "running", MultiUser: "active", Usr: "/dev/mapper/usr", Verity: "verified",
		Merged:     []string{"oem-shared-1", "oem-azure"},
		Extensions: []string{"extension-release.oem-azure", "extension-release.oem-shared-1"},
		Backing:    []string{"/share/flatcar/oem-sysext/oem-shared-1.raw", "/run/oem/images/oem-azure.raw"},
		Linked:     "linked oem-azure oem-shared-1: ID=azure in /oem/oem-release",
		OSRelease:  map[string]string{"ID": "flatcar", "VERSION_ID": "1.0.0"},
		Units:      map[string]string{"agent.service": "active"},
		There:      []string{"/usr/bin/agent"},
		Programs:   1,
		Ran:        []vm.Ran{{Said: "agent 1.0\n"}},
	}
}

func failed(outcomes []proof.Outcome) []string {
	var names []string
	for _, o := range outcomes {
		if o.Error != "" {
			names = append(names, o.Assertion)
		}
	}
	return names
}

func TestSoundMachine(t *testing.T) {
	if names := failed(someExpectation.Check(sound())); names != nil {
		t.Errorf("failed: %v", names)
	}
}

// Each fault of a machine fails one assertion, and every assertion has a fault that fails it.
func TestEachFaultFailsOneAssertion(t *testing.T) {
	tried := map[string]bool{}
	for _, c := range []struct {
		spoil func(*vm.Report)
		want  string
	}{
		{func(r *vm.Report) { r.State = "degraded" }, "the system is up"},
		{func(r *vm.Report) { r.MultiUser = "inactive" }, "the system is up"},
		{func(r *vm.Report) { r.Failed = []string{"x.service"} }, "no unit failed"},
		{func(r *vm.Report) { r.Usr = "/dev/vda3" }, "/usr is verified"},
		{func(r *vm.Report) { r.Verity = "corrupted" }, "/usr is verified"},
		{func(r *vm.Report) { r.OSRelease["VERSION_ID"] = "0.9.0" }, "the release is the one that was installed"},
		{func(r *vm.Report) { r.Linked = "linked oem-azure oem-shared-1: the machine's markers" }, "the platform is chosen for the right reason"},
		{func(r *vm.Report) { r.Linked = "" }, "the platform is chosen for the right reason"},
		{func(r *vm.Report) { r.Merged = r.Merged[:1] }, "exactly the platform's images are merged"},
		{func(r *vm.Report) { r.Merged = append(r.Merged, "oem-gce") }, "exactly the platform's images are merged"},
		{func(r *vm.Report) { r.Extensions = append(r.Extensions, "extension-release.x") }, "exactly the platform's images are merged"},
		{func(r *vm.Report) { r.Backing[0] = "/oem/sysext/oem-azure-1.0.0.raw" }, "they are the embedded ones"},
		{func(r *vm.Report) { r.Backing = nil }, "they are the embedded ones"},
		{func(r *vm.Report) { r.OSRelease["SYSEXT_FLATTENED"] = "more_1" }, "os-release names what is part of /usr"},
		{func(r *vm.Report) { r.There = nil }, "required paths are there"},
		{func(r *vm.Report) { r.There = append(r.There, "/usr/bin/other") }, "no other platform's files are there"},
		{func(r *vm.Report) { r.Units["agent.service"] = "inactive" }, "the platform's units are active"},
		{func(r *vm.Report) { delete(r.Units, "agent.service") }, "the platform's units are active"},
		{func(r *vm.Report) { r.Unresolved = []string{"/usr/bin/agent: libx.so.1 => not found"} }, "programs find their libraries"},
		{func(r *vm.Report) { r.Ran[0].Status = 1 }, "commands of the platform's operators work"},
		{func(r *vm.Report) { r.Ran[0].Said = "agent 0.9\n" }, "commands of the platform's operators work"},
		{func(r *vm.Report) { r.Ran = nil }, "commands of the platform's operators work"},
		{func(r *vm.Report) { r.Programs = 0 }, "programs find their libraries"},
	} {
		r := sound()
		c.spoil(&r)
		if diff := cmp.Diff([]string{c.want}, failed(someExpectation.Check(r))); diff != "" {
			t.Error(diff)
		}
		tried[c.want] = true
	}
	for _, assertion := range assertions {
		if !tried[assertion.name] {
			t.Errorf("nothing fails %q", assertion.name)
		}
	}
}
