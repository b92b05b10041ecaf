package ci

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/nightly"
	"github.com/flatcar/oem-sysext/release/setup"
)

// NightlyVersion writes the version that a nightly build of now has to out, and tells it to a workflow (setVersion).
func NightlyVersion(o setup.Options, now time.Time, out io.Writer) error {
	version, err := nightly.Version(cmp.Or(o.Version, setup.DefaultVersion), now)
	if err != nil {
		return fmt.Errorf("VERSION: %w", err)
	}
	return setVersion(o, version, out)
}

// TagVersion writes the version that the tag of a release stands for to out, and tells it to a workflow. The tag is GITHUB_REF_NAME,
// the architecture that it ends with ARCH.
func TagVersion(o setup.Options, out io.Writer) error {
	tag := o.GitHub.Ref
	version, isOurs := strings.CutSuffix(tag, manifest.Tag("", string(o.Arch)))
	if _, err := base.VersionID(version); err != nil || !isOurs {
		return fmt.Errorf("GITHUB_REF_NAME=%s; wanted a tag such as %s", tag, manifest.Tag(setup.DefaultVersion, string(o.Arch)))
	}
	return setVersion(o, version, out)
}

// setVersion sets VERSION for the next steps of a workflow's job, and the output version of this one, where GitHub's runners name
// the files for that in GITHUB_ENV and GITHUB_OUTPUT.
func setVersion(o setup.Options, version string, out io.Writer) error {
	if err := appendTo(o.GitHub.Environment, fmt.Sprintf("VERSION=%s\n", version)); err != nil {
		return err
	}
	if err := appendTo(o.GitHub.StepOutput, fmt.Sprintf("version=%s\n", version)); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, version)
	return err
}
