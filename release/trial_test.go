package release

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem"
	"github.com/flatcar/oem-sysext/oem/detect"
	"github.com/flatcar/oem-sysext/oem/needs"
	"github.com/flatcar/oem-sysext/oem/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/base"
	"github.com/flatcar/oem-sysext/release/vm"
)

// TestTrial boots a platform's image as platform:boot does.
func TestTrial(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, slices.Concat(base.Programs(), vm.Programs(), []string{"go"})...)
	trial, err := Try(t.Context(), options(t, toolroottest.Cache(t), t.TempDir()), "akamai")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", trial)
	if diff := cmp.Diff([]string{"oem-akamai"}, trial.Merged); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"oem-setup.service": "active", "chrony.service": "active"}, trial.Units); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(detect.Verdict{ID: "akamai"}, trial.Verdict); diff != "" || trial.State != "running" {
		t.Errorf("the system is %s; %s", trial.State, diff)
	}
}

func TestShowMarkers(t *testing.T) {
	platforms, err := oem.Definitions(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"azure":      {"type=1,product=Trial,manufacturer=Trial", "type=3,asset=7783-7084-3265-9085-8269-3286-77"},
		"cloudstack": {"type=1,product=CloudStack,manufacturer=Trial"},
		"vmware":     {"type=1,product=Trial,manufacturer=VMware,, Inc."},
		"stackit":    nil, // nothing to show
	}
	for _, p := range platforms {
		if values, listed := want[p.ID.Value]; listed {
			if diff := cmp.Diff(values, showMarkers(p)); diff != "" {
				t.Errorf("%s: %s", p.ID, diff)
			}
		}
	}
}
