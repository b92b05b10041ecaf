package vm

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

//go:embed smoke.sh
var smokeScript string

// Report is what a booted system says about itself.
type Report struct {
	State     string            `json:"state"`      // of the service manager: running, degraded
	MultiUser string            `json:"multi_user"` // whether multi-user.target is active
	Failed    []string          `json:"failed"`     // units
	Usr       string            `json:"usr"`        // the device that /usr is on
	Verity    string            `json:"verity"`     // verified, corrupted
	Merged    []string          `json:"merged"`     // extension images, in the order of their names
	OSRelease map[string]string `json:"os_release"`
	Seconds   float64           `json:"seconds"` // since the kernel started
}

// Boot boots the machine with the script that makes a Report.
func Boot(ctx context.Context, m Machine) (Report, error) {
	m.Script = smokeScript
	content, err := Run(ctx, m)
	if err != nil {
		return Report{}, err
	}
	var report Report
	return report, json.Unmarshal(content, &report)
}

// Check returns everything that is not as it is in a sound system of this version with these images merged.
func (r Report) Check(versionID string, merged []string) error {
	var errs []error
	expect := func(what, got, wanted string) {
		if got != wanted {
			errs = append(errs, fmt.Errorf("%s is %q; wanted %q", what, got, wanted))
		}
	}
	expect("the system", r.State, "running")
	expect("multi-user.target", r.MultiUser, "active")
	expect("the device of /usr", r.Usr, "/dev/mapper/usr")
	expect("verity", r.Verity, "verified")
	expect("ID", r.OSRelease["ID"], "flatcar")
	expect("VERSION_ID", r.OSRelease["VERSION_ID"], versionID)
	if len(r.Failed) > 0 {
		errs = append(errs, fmt.Errorf("failed units: %v", r.Failed))
	}
	if !slices.Equal(r.Merged, merged) {
		errs = append(errs, fmt.Errorf("merged images are %v; wanted %v", r.Merged, merged))
	}
	return errors.Join(errs...)
}
