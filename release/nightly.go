package release

import (
	"fmt"
	"io"
	"time"

	"github.com/flatcar/oem-sysext/release/nightly"
)

// NightlyVersion writes the version that a nightly build of now has to out, and sets it as VERSION for the following steps
// of a workflow, where file is what GitHub's runners name in GITHUB_ENV.
func NightlyVersion(o Options, now time.Time, file string, out io.Writer) error {
	version, err := nightly.Version(orElse(o.Version, DefaultVersion), now)
	if err != nil {
		return fmt.Errorf("VERSION: %w", err)
	}
	if err := appendTo(file, fmt.Sprintf("VERSION=%s\n", version)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, version)
	return err
}
