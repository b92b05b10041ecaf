package story

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// Each thing that Flatcar's own scripts must not do fails one assertion.
func TestEachDownloadFailsOneAssertion(t *testing.T) {
	const quiet, prepared = "nothing is downloaded", "the update is prepared"
	for name, c := range map[string]struct {
		report vm.Report
		fails  []string
	}{
		"sound":              {vm.Report{Classic: "Finished."}, nil},
		"sound, updating":    {vm.Report{Classic: "Finished.", Update: &vm.Update{Said: "ready"}}, nil},
		"step did not run":   {vm.Report{}, []string{quiet}},
		"step downloads":     {vm.Report{Classic: "Did not find it, downloading"}, []string{quiet}},
		"postinst downloads": {vm.Report{Classic: "Finished.", Update: &vm.Update{Said: "Downloading"}}, []string{quiet}},
		"postinst fails":     {vm.Report{Classic: "Finished.", Update: &vm.Update{Status: 1, Said: "no room"}}, []string{prepared}},
	} {
		if diff := cmp.Diff(c.fails, failed(classicOutcomes(c.report))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
