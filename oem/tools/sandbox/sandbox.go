// Package sandbox runs a recipe's build script isolated from the host, with declared inputs only.
//
// The script sees the programs of a tool root and the inputs, read-only; an empty home, /tmp and output directory
// of limited size; and a fixed environment. There is no network, no file, process or variable of the host,
// and it runs as a user without capabilities. Its output is a tar stream, which is unpacked with the same checks
// as a downloaded archive.
package sandbox

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/bwrap"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Job is one run of a script.
type Job struct {
	Tools   *toolroot.Root
	Script  string            // path in the sandbox, such as /recipe/build.sh
	Inputs  map[string]string // directories of the host, by path in the sandbox
	Env     map[string]string // in addition to PATH, HOME, TMPDIR, OUT, LANG and TZ
	Timeout time.Duration     // of the whole run
	Size    size.Bytes        // of each of home, /tmp and the output
}

const (
	home = "/home/build"
	out  = "/out"
	user = "1000" // any number but 0
)

// wrapper runs the script, then writes the output directory to standard output, separate from what the script prints.
const wrapper = `umask 022 && cd /tmp && "$1" >&2 </dev/null && exec tar --create --sort=name --numeric-owner --owner=0 --group=0 --directory=/out .`

// Run runs the script and unpacks its output into root.
// A failure is a *run.Error with the end of the script's messages, or says that the timeout expired.
func (j *Job) Run(ctx context.Context, root *os.Root) error {
	ctx, cancel := context.WithTimeoutCause(ctx, j.Timeout, fmt.Errorf("%s took longer than %v; make it faster, or raise its timeout", j.Script, j.Timeout))
	defer cancel()
	stream, output := io.Pipe()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := run.Run(running, run.Cmd{Program: "bwrap", Args: j.arguments(), Env: bwrap.Env, Stdout: output})
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		output.CloseWithError(err)
		return err
	})
	group.Go(func() error {
		err := archive.Tar(stream, root, archive.Options{Name: "output of " + j.Script})
		stream.CloseWithError(err)
		return err
	})
	return group.Wait()
}

// arguments are those of bwrap. Mounts are made in order, so read-only remounts come last.
func (j *Job) arguments() []string {
	limit := strconv.FormatInt(int64(j.Size), 10)
	args := append(bwrap.Root(bwrap.Alone, j.Tools.Path("usr")), "--ro-bind", j.Tools.Path("etc"), "/etc",
		"--hostname", "build", "--uid", user, "--gid", user, "--cap-drop", "ALL", "--clearenv")
	for _, dir := range []string{"/tmp", home, out} {
		args = append(args, "--size", limit, "--tmpfs", dir)
	}
	for _, place := range slices.Sorted(maps.Keys(j.Inputs)) {
		args = append(args, "--ro-bind", j.Inputs[place], place)
	}
	// Outside the user is root, who owns /proc/sys and could write there even without capabilities.
	args = append(args, "--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/")
	env := map[string]string{
		"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "TMPDIR": "/tmp", "OUT": out, "LANG": "C.UTF-8", "TZ": "UTC",
	}
	maps.Copy(env, j.Env)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		args = append(args, "--setenv", name, env[name])
	}
	return append(args, "sh", "-c", wrapper, "build", j.Script)
}
