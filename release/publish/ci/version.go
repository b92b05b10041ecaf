package release

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/publish"
	"github.com/flatcar/oem-sysext/release/publish/nightly"
)

// NightlyVersion writes the version that a nightly build of now has to out, and tells it to a workflow (tellVersion).
func NightlyVersion(o Options, now time.Time, getenv func(string) string, out io.Writer) error {
	version, err := nightly.Version(orElse(o.Version, DefaultVersion), now)
	if err != nil {
		return fmt.Errorf("VERSION: %w", err)
	}
	return tellVersion(version, getenv, out)
}

// TagVersion writes the version that the tag of a release stands for to out, and tells it to a workflow. The tag is GITHUB_REF_NAME,
// the architecture that it ends with ARCH.
func TagVersion(o Options, getenv func(string) string, out io.Writer) error {
	tag := getenv("GITHUB_REF_NAME")
	version, isOurs := strings.CutSuffix(tag, publish.Tag("", string(o.Arch)))
	if _, err := base.VersionID(version); err != nil || !isOurs {
		return fmt.Errorf("GITHUB_REF_NAME=%s; wanted a tag such as %s", tag, publish.Tag(DefaultVersion, string(o.Arch)))
	}
	return tellVersion(version, getenv, out)
}

// tellVersion sets VERSION for the next steps of a workflow's job, and the output version of this one, where GitHub's runners name
// the files for that in GITHUB_ENV and GITHUB_OUTPUT.
func tellVersion(version string, getenv func(string) string, out io.Writer) error {
	if err := appendTo(getenv("GITHUB_ENV"), fmt.Sprintf("VERSION=%s\n", version)); err != nil {
		return err
	}
	if err := appendTo(getenv("GITHUB_OUTPUT"), fmt.Sprintf("version=%s\n", version)); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, version)
	return err
}
