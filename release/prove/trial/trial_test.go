package trial_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/release/prove/trial"
	"github.com/flatcar/oem-sysext/release/testrelease"
)

// TestTrial boots a platform's image as platform:boot does.
func TestTrial(t *testing.T) {
	testrelease.Needs(t)
	trial, err := trial.Try(t.Context(), testrelease.Fresh(t), "akamai")
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
