// Package toolroot runs image writers and file-system tools from a Debian root of their own,
// so that releases do not depend on the host's distribution.
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

// At returns the tool root in dir.
func At(dir string) (*Root, error) {
	status, err := os.ReadFile(filepath.Join(dir, "var/lib/dpkg/status"))
	if err != nil {
		return nil, fmt.Errorf("%s is not a tool root: %w", dir, err)
	}
	installed, err := debian.ParseStatus(bytes.NewReader(status))
	return &Root{dir: dir, installed: installed, status: digest.Of(status)}, err
}

// Digest is the digest of all packages and versions in the tool root.
func (r *Root) Digest() digest.SHA256 { return r.status }

// Versions returns the versions of packages of the tool root, by name.
// Cache keys contain these, so that updates of other packages invalidate nothing.
func (r *Root) Versions(names ...string) map[string]string {
	versions := map[string]string{}
	for _, name := range names {
		versions[name] = r.installed.Version(name)
	}
	return versions
}

// Installed returns all packages of the tool root.
func (r *Root) Installed() *debian.Installed { return r.installed }

// Cmd is one run of a program of the tool root.
// It sees the tool root read-only, an empty /tmp, the paths below at the same place as outside, and no network.
type Cmd struct {
	Program string    // a name in the tool root, such as mksquashfs
	Args    []string  // without the program's own name
	Read    []string  // absolute paths to read
	Write   []string  // absolute paths to write
	Devices []string  // of the host, such as /dev/kvm; missing ones are skipped
	Owners  bool      // may give files any owner, as real root
	Env     []string  // NAME=value, in addition to PATH, LANG=C.UTF-8 and TZ=UTC
	Stdin   io.Reader // empty if nil
	Stdout  io.Writer // dropped if nil
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
	return bwrap.Run(ctx, run.Cmd{
		Program: "bwrap",
		Name:    c.Program,
		Args:    args,
		Env:     slices.Concat(bwrap.Env, c.Env),
		Stdin:   c.Stdin,
		Stdout:  c.Stdout,
	})
}

// Path returns the path of a tool root's file on the host.
func (r *Root) Path(name string) string { return filepath.Join(r.dir, name) }
