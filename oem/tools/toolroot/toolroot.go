// Package toolroot runs the programs that decide bytes (image writers, file-system tools) from a root of their own,
// so that the host's distribution does not decide what a release looks like.
package toolroot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// Root is an unpacked tool root.
type Root struct {
	dir       string
	installed *debian.Installed
	status    digest.SHA256
}

// At returns the tool root that lies in dir.
func At(dir string) (*Root, error) {
	status, err := os.ReadFile(filepath.Join(dir, "var/lib/dpkg/status"))
	if err != nil {
		return nil, fmt.Errorf("%s is no tool root: %w", dir, err)
	}
	installed, err := debian.ParseStatus(bytes.NewReader(status))
	return &Root{dir: dir, installed: installed, status: digest.Of(status)}, err
}

// Digest is the digest of which packages, in which versions, the tool root holds.
func (r *Root) Digest() digest.SHA256 { return r.status }

// Versions returns the versions of packages of the tool root, by name.
// They are what a step's key holds of its tools: a fix elsewhere in the tool root makes nothing anew.
func (r *Root) Versions(names ...string) map[string]string {
	versions := map[string]string{}
	for _, name := range names {
		versions[name] = r.installed.Version(name)
	}
	return versions
}

// Cmd is one run of a program of the tool root.
// It sees the tool root read-only, an empty /tmp, the paths named here at the same place as outside, and no network.
type Cmd struct {
	Program string    // a name to be found in the tool root, such as mksquashfs
	Args    []string  // without the program's own name
	Read    []string  // absolute paths it may read
	Write   []string  // absolute paths it may write
	Devices []string  // of the host, such as /dev/kvm; one that it lacks is left out
	Owners  bool      // it may give what it writes to any owner, as only real root can
	Env     []string  // NAME=value, beyond PATH, LANG=C.UTF-8 and TZ=UTC
	Stdin   io.Reader // nothing when nil
	Stdout  io.Writer // dropped when nil
}

// Run runs a program of the tool root. A failure is a *run.Error with the end of standard error.
func (r *Root) Run(ctx context.Context, c Cmd) error {
	alone := []string{"--unshare-all"}
	if c.Owners {
		alone = []string{"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"}
		for _, capability := range []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETFCAP"} {
			alone = append(alone, "--cap-add", "CAP_"+capability)
		}
	}
	args := append(alone,
		"--die-with-parent", "--new-session",
		"--ro-bind", r.Path("usr"), "/usr", "--ro-bind", r.Path("etc"), "/etc",
		"--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin",
		"--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
		"--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--dir", "/run", "--dir", "/var",
	)
	for _, path := range c.Read {
		args = append(args, "--ro-bind", path, path)
	}
	for _, path := range c.Write {
		args = append(args, "--bind", path, path)
	}
	for _, device := range c.Devices {
		args = append(args, "--dev-bind-try", device, device)
	}
	// Outside, the user is root, who owns /proc/sys.
	args = append(append(args, "--remount-ro", "/proc", c.Program), c.Args...)
	return run.Run(ctx, run.Cmd{
		Program: "bwrap",
		Args:    args,
		Env:     append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TZ=UTC"}, c.Env...),
		Stdin:   c.Stdin,
		Stdout:  c.Stdout,
	})
}

// Path returns where a file of the tool root lies on the host.
func (r *Root) Path(name string) string { return filepath.Join(r.dir, name) }
