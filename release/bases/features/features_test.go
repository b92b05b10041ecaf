package features

import (
	"strings"
	"testing"
)

// Each feature is there from one version of systemd on.
func TestOf(t *testing.T) {
	for version, want := range map[string]struct{ dirs, names, signed, merge bool }{
		"255.8":   {},
		"256":     {dirs: true},
		"256~rc1": {dirs: true},
		"257.13":  {dirs: true, names: true},
		"258~rc1": {true, true, true, true},
		"262-1":   {true, true, true, true},
	} {
		f := Of(version)
		if err := f.Check(); err != nil {
			t.Errorf("%s: %v", version, err)
		}
		got := struct{ dirs, names, signed, merge bool }{f.VersionDirs(), f.TransferNames(), f.SignedImages(), f.InitrdMerge()}
		if got != want {
			t.Errorf("%s: %+v; wanted %+v", version, got, want)
		}
	}
}

// What is no version has no feature, and is told as it is.
func TestNoVersion(t *testing.T) {
	for _, version := range []string{"", "v258", "~rc1", "99999999999999999999"} {
		f := Of(version)
		if err := f.Check(); err == nil || !strings.Contains(err.Error(), `"`+version+`"`) {
			t.Errorf("%q: error is %v", version, err)
		}
		if f.VersionDirs() || f.TransferNames() || f.SignedImages() || f.InitrdMerge() {
			t.Errorf("%q: %+v has features", version, f)
		}
	}
}
