package definition

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
)

// TestDetection judges machines that are known. Platforms that none of them names are not looked at: a new one breaks nothing here.
func TestDetection(t *testing.T) {
	platforms, err := Platforms(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	machines, err := detect.Machines()
	if err != nil || len(machines) < 60 {
		t.Fatal(len(machines), err)
	}
	named := map[string]bool{}
	for _, known := range machines {
		named[known.Is] = true
		for _, id := range known.Maybe {
			named[id] = true
		}
	}
	var candidates []detect.Candidate
	for _, p := range platforms {
		candidates = append(candidates, p.Candidate())
	}
	unnamed := func(id string) bool { return !named[id] }
	for _, known := range machines {
		got := detect.Judge(known.Machine(), candidates)
		want := detect.Verdict{ID: known.Is, Maybe: known.Maybe}
		if got.Maybe = slices.DeleteFunc(got.Maybe, unnamed); len(got.Maybe) == 0 {
			got.Maybe = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("oem/definition/detect/machines.yaml:%d: %v: %s", known.Line, known, diff)
		}
	}
	for _, p := range platforms {
		if len(p.Detect) > 0 && named[p.ID.Value] && !slices.ContainsFunc(machines, func(known detect.Known) bool { return known.Is == p.ID.Value }) {
			t.Errorf("no machine of %s is known", p.ID)
		}
	}
}

// The boot loader names platforms by what Flatcar's images have in flatcar.oem.id=.
func TestKernelIDs(t *testing.T) {
	platforms, err := Platforms(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"ec2": "ami", "openstack": "openstack", "azure": "azure"} {
		if got := platform.ByKernelID(platforms, id); got == nil || got.ID.Value != want {
			t.Errorf("%s leads to %v; want %s", id, got, want)
		}
	}
	if got := platform.ByKernelID(platforms, "ami"); got != nil {
		t.Errorf("ami leads to %v; it is no kernel id", got.ID)
	}
}
