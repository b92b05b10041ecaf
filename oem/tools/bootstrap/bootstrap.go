// Package bootstrap assembles Debian root directories with mmdebstrap: the tool root and the reference bases.
//
// The same packages give the same tree, independent of host, mirror, date, locale and umask.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/run"
)

// Spec describes a root and its sources.
type Spec struct {
	Suite    string    // such as trixie
	Arch     string    // Debian's name, such as amd64; the host must be able to run its programs
	Packages []string  // in addition to essential ones; recommended packages are not added
	Exclude  []string  // shell patterns of absolute paths that are not unpacked, such as /usr/share/man/*
	Sources  []string  // sources.list lines: the suite, and optionally -updates and -security
	Keyring  string    // file with the OpenPGP keys that may sign these
	Epoch    time.Time // newest modification time of any file
}

// Programs are the host programs that Make runs.
func Programs() []string { return []string{"mmdebstrap", "unshare"} }

// Make assembles a root in dir, which must not exist and is removed on failure.
// It needs to be root, and takes about half a minute for a bootable system.
func Make(ctx context.Context, spec Spec, dir string, log *slog.Logger) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("assemble %s: needs root; run it with sudo, and settings such as BASE=stable behind that", dir)
	}
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("assemble %s: it exists; remove it first", dir)
	}
	log.Info("assembling a Debian root", "suite", spec.Suite, "arch", spec.Arch, "dir", dir)
	started := time.Now()
	err := mmdebstrap(ctx, spec, dir)
	if err == nil {
		err = normalise(dir, spec.Epoch)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("assemble %s: %w", dir, err), os.RemoveAll(dir))
	}
	log.Info("assembled", "dir", dir, "took", time.Since(started).Round(time.Second))
	return nil
}

// mmdebstrap runs in its own mount and PID namespaces, so that no mount or process is left, however it ends.
func mmdebstrap(ctx context.Context, spec Spec, dir string) error {
	args := []string{
		"--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"mmdebstrap", "--mode=root", "--format=directory", "--variant=essential",
		"--architectures=" + spec.Arch,
		"--keyring=" + spec.Keyring,
		"--include=" + strings.Join(spec.Packages, ","),
		`--aptopt=APT::Install-Recommends "false"`,
		// apt's user may not be able to enter the work directory, such as below a private home.
		`--aptopt=APT::Sandbox::User "root"`,
	}
	if spec.Arch != runtime.GOARCH {
		args = append(args, "--skip=check/qemu") // it needs another program, and may copy an emulator into the root
	}
	for _, pattern := range spec.Exclude {
		args = append(args, "--dpkgopt=path-exclude="+pattern)
	}
	args = append(append(args, spec.Suite, dir), spec.Sources...)
	return run.Run(ctx, run.Cmd{
		Program: "unshare",
		Name:    "mmdebstrap",
		Args:    args,
		Env: append(run.HostEnv("http_proxy", "https_proxy", "no_proxy"),
			"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TZ=UTC",
			"SOURCE_DATE_EPOCH="+strconv.FormatInt(spec.Epoch.Unix(), 10)),
	})
}
