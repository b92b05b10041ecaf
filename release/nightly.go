package release

import (
	"errors"
	"fmt"
	"io"
	"os"
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
	if file != "" {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "VERSION=%s\n", version)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(out, version)
	return err
}
