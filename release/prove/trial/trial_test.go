package trial

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
	"github.com/flatcar/oem-sysext/release/bases/base"
)

// TestTrial boots a platform's image as platform:boot does.
func TestTrial(t *testing.T) {
	needs.Root(t)
	needs.Programs(t, append(base.Programs(), "go")...)
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
