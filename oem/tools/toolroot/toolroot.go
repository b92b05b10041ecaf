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
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/bwrap"
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
	alone := bwrap.Alone
	if c.Owners {
		alone = bwrap.AloneWithOwners
	}
	args := append(bwrap.Root(alone, r.Path("usr")), "--ro-bind", r.Path("etc"), "/etc", "--tmpfs", "/tmp")
	for _, path := range c.Read {
		args = append(args, "--ro-bind", path, path)
	}
	for _, path := range c.Write {
		args = append(args, "--bind", path, path)
	}
	for _, device := range c.Devices {
		args = append(args, "--dev-bind-try", device, device)
	}
	args = slices.Concat(args, bwrap.ReadOnlyProc, []string{c.Program}, c.Args)
	return run.Run(ctx, run.Cmd{
		Program: "bwrap",
		Args:    args,
		Env:     slices.Concat(bwrap.Env, c.Env),
		Stdin:   c.Stdin,
		Stdout:  c.Stdout,
	})
}

// Path returns where a file of the tool root lies on the host.
func (r *Root) Path(name string) string { return filepath.Join(r.dir, name) }
