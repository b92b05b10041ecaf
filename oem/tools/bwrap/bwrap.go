// Package bwrap has what all sandboxes have in common: arguments of bwrap(1), and a filter of system calls.
//
// In goes what a sandbox is for, out come arguments. The filter refuses system calls that reach beyond a sandbox's own files, processes
// and network, new namespaces, and programs for other architectures.
package bwrap

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/run"
)

// Run runs a program with the filter that Root's arguments refer to: bwrap, or one that runs bwrap.
func Run(ctx context.Context, c run.Cmd) error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	_, err = writer.Write(filter()) // less than a pipe holds
	if err := errors.Join(err, writer.Close()); err != nil {
		return err
	}
	c.Files = append([]*os.File{reader}, c.Files...)
	return run.Run(ctx, c)
}

// Alone isolates from the host: network, processes, users, host name.
var Alone = []string{"--unshare-all"}

// AloneAsRoot isolates in the same way, but the user is the one outside, who must be root.
var AloneAsRoot = []string{"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"}

// AloneWithOwners is AloneAsRoot with only the capabilities to give files any owner.
var AloneWithOwners = append(slices.Clone(AloneAsRoot),
	"--cap-add", "CAP_CHOWN", "--cap-add", "CAP_DAC_OVERRIDE", "--cap-add", "CAP_FOWNER", "--cap-add", "CAP_FSETID", "--cap-add", "CAP_SETFCAP")

// Root returns arguments for a root file system around a /usr, with its own /dev and /proc and empty /run and /var.
// Outside the user may be root, who can write to /proc/sys, so append ReadOnlyProc after any mounts below /proc.
// They are for Run.
func Root(alone []string, usr string) []string {
	args := append([]string{}, alone...)
	return append(args,
		"--die-with-parent", "--new-session", "--seccomp", "3", "--ro-bind", usr, "/usr",
		"--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin",
		"--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
		"--dev", "/dev", "--proc", "/proc", "--dir", "/run", "--dir", "/var",
	)
}

// ReadOnlyProc keeps root from writing to /proc/sys.
var ReadOnlyProc = []string{"--remount-ro", "/proc"}

// Env is the environment of bwrap itself.
var Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TZ=UTC"}
