// Package nightly knows how versions of nightly builds are spelled: those of the release that they lead to, with the minute
// that they stand for, as Flatcar has them. What follows the plus sign is in VERSION= of os-release and not in VERSION_ID=.
package nightly

import (
	"fmt"
	"regexp"
	"time"
)

const layout = "20060102-1504" // in UTC

var pattern = regexp.MustCompile(`^([0-9]+\.[0-9]+\.[0-9]+)\+nightly-([0-9]{8}-[0-9]{4})$`)

// Version returns the version of a nightly build: 9999.0.0 becomes 9999.0.0+nightly-20260102-0304.
func Version(release string, at time.Time) (string, error) {
	version := fmt.Sprintf("%s+nightly-%s", release, at.UTC().Format(layout))
	if _, isNightly := Time(version); !isNightly {
		return "", fmt.Errorf("%q is not the version of a release; wanted one such as 9999.0.0", release)
	}
	return version, nil
}

// Time returns the minute that a version stands for, if it is a nightly build's.
func Time(version string) (time.Time, bool) {
	found := pattern.FindStringSubmatch(version)
	if found == nil {
		return time.Time{}, false
	}
	at, err := time.Parse(layout, found[2])
	return at, err == nil
}
