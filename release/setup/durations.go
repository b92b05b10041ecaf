package setup

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/progress"
)

const (
	// durationsFile is in the cache.
	durationsFile = "durations.json"
	// longRun is from how many seconds on one wants to know how long a run will take.
	longRun = 10
)

// ExpectDuration has the progress of a target say how long it will still take, if the same was run before.
func (o Options) ExpectDuration(target []string) {
	o.Progress.Expect(o.durations()[o.work(target)])
}

// KeepDuration keeps how long a target took that is at its end. Short runs say nothing about long ones.
func (o Options) KeepDuration(target []string) error {
	passed := o.Progress.Passed()
	if passed.Seconds < longRun {
		return nil
	}
	all := o.durations()
	all[o.work(target)] = passed
	encoded, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(o.Cache, durationsFile), 0o644, encoded)
}

// durations are those that are known. Where they cannot be read, none are.
func (o Options) durations() map[string]progress.Past {
	all := map[string]progress.Past{}
	content, err := os.ReadFile(filepath.Join(o.Cache, durationsFile))
	if err != nil || json.Unmarshal(content, &all) != nil || all == nil {
		return map[string]progress.Past{}
	}
	return all
}

// work is what takes the same time each time.
func (o Options) work(target []string) string {
	return fmt.Sprintf("%q %s %s %s", target, o.Arch, o.BaseID, o.Profile)
}
