package boot

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/definition"
)

func TestMarkers(t *testing.T) {
	platforms, err := definition.Platforms(os.DirFS("../../.."))
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
			if diff := cmp.Diff(values, Markers(p)); diff != "" {
				t.Errorf("%s: %s", p.ID, diff)
			}
		}
	}
}
