package nightly

import (
	"testing"
	"time"
)

func TestVersion(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 59, 0, time.FixedZone("", 0))
	version, err := Version("9999.0.0", at)
	if err != nil || version != "9999.0.0+nightly-20260102-0304" {
		t.Errorf("version is %q, %v", version, err)
	}
	if east, _ := Version("9999.0.0", at.In(time.FixedZone("", 7*3600))); east != version {
		t.Errorf("in another time zone it is %q", east)
	}
	if got, isNightly := Time(version); !isNightly || !got.Equal(at.Truncate(time.Minute)) {
		t.Errorf("time is %v, %v", got, isNightly)
	}
	for _, release := range []string{"", "9999", "9999.0.0+dev", version, "9999.0.0-1"} {
		if got, err := Version(release, at); err == nil {
			t.Errorf("%q becomes %q", release, got)
		}
	}
	for _, other := range []string{"9999.0.0", "9999.0.0+nightly", "9999.0.0+nightly-20261302-0304", "9999.0.0+nightly-20260102-0304-amd64", "x" + version} {
		if _, isNightly := Time(other); isNightly {
			t.Errorf("%q is a nightly", other)
		}
	}
}
