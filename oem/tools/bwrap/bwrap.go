// Package bwrap has the common arguments of all sandboxes (bwrap(1)).
package bwrap

// Alone isolates from the host: network, processes, users, host name.
var Alone = []string{"--unshare-all"}

// AloneWithOwners is Alone as real root with only the capabilities to give files any owner.
var AloneWithOwners = []string{
	"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL",
	"--cap-add", "CAP_CHOWN", "--cap-add", "CAP_DAC_OVERRIDE", "--cap-add", "CAP_FOWNER", "--cap-add", "CAP_FSETID", "--cap-add", "CAP_SETFCAP",
}

// Root returns arguments for a root file system around a /usr, with its own /dev and /proc and empty /run and /var.
// Outside the user may be root, who can write to /proc/sys, so append ReadOnlyProc after any mounts below /proc.
func Root(alone []string, usr string) []string {
	args := append([]string{}, alone...)
	return append(args,
		"--die-with-parent", "--new-session", "--ro-bind", usr, "/usr",
		"--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin",
		"--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
		"--dev", "/dev", "--proc", "/proc", "--dir", "/run", "--dir", "/var",
	)
}

// ReadOnlyProc keeps root from writing to /proc/sys.
var ReadOnlyProc = []string{"--remount-ro", "/proc"}

// Env is the environment of bwrap itself.
var Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TZ=UTC"}
