package base

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/bootstrap"
)

var versionPattern = regexp.MustCompile(`^([0-9]+\.[0-9]+\.[0-9]+)(\+[a-zA-Z0-9.-]+)?$`)

// VersionID returns the part of a version that VERSION_ID holds.
func VersionID(version string) (string, error) {
	match := versionPattern.FindStringSubmatch(version)
	if match == nil {
		return "", fmt.Errorf("%q is not a version; wanted one such as 9999.0.0 or 9999.0.0+nightly", version)
	}
	return match[1], nil
}

// stamp makes dir/usr: the files of the core, which it shares as hard links, and an os-release of its own.
func stamp(ctx context.Context, def Definition, core, dir string, opts Options) error {
	usr := filepath.Join(dir, "usr")
	err := run.Run(ctx, run.Cmd{
		Program: "cp",
		Args:    []string{"--archive", "--link", filepath.Join(core, "usr"), usr},
		Env:     run.HostEnv("PATH"),
	})
	if err != nil {
		return err
	}
	err = atomicfile.WriteBytes(filepath.Join(usr, "lib/os-release"), 0o644, []byte(osRelease(def, opts.Version)))
	if err != nil {
		return err
	}
	return bootstrap.ClampTimes(usr, opts.Epoch)
}

// osRelease has the fields that extension images are matched with, and the ones that Flatcar's tools read.
func osRelease(def Definition, version string) string {
	id, _, _ := strings.Cut(version, "+")
	return fmt.Sprintf(`NAME="Flatcar Container Linux by Kinvolk"
ID=flatcar
ID_LIKE=coreos
VERSION=%s
VERSION_ID=%s
SYSEXT_LEVEL=1.0
PRETTY_NAME="Flatcar reference base %s (%s)"
`, version, id, version, def.ID)
}
