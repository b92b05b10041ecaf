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
	"io/fs"
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
	Inputs  map[string]string // directories of the host, by path in the sandbox; its user becomes their owner
	Env     map[string]string // in addition to PATH, HOME, TMPDIR, OUT, LANG and TZ
	Timeout time.Duration     // of the whole run
	Size    size.Bytes        // of each of home, /tmp and the output, and of one file
	Memory  size.Bytes        // of one process
}

const (
	home = "/home/build"
	out  = "/out"
	// user is what a script runs as. On the host nobody is: the number is between those of accounts and of systemd's dynamic users
	// (systemd.io/UIDS-GIDS).
	user = 61000
)

// maxProcesses limits the script's processes and threads. A compiler on a large machine has some hundred.
const maxProcesses = 2048

// wrapper runs the script, then writes the output directory to standard output, separate from what the script prints.
const wrapper = `umask 022 && cd /tmp && "$1" >&2 </dev/null && exec tar --create --sort=name --numeric-owner --owner=0 --group=0 --directory=/out .`

// Run runs the script and unpacks its output into root.
// A failure is a *run.Error with the end of the script's messages, or says that the timeout expired.
func (j *Job) Run(ctx context.Context, root *os.Root) error {
	ctx, cancel := context.WithTimeoutCause(ctx, j.Timeout, fmt.Errorf("%s took longer than %v; make it faster, or raise its timeout", j.Script, j.Timeout))
	defer cancel()
	for _, dir := range j.Inputs {
		if err := give(dir); err != nil {
			return err
		}
	}
	stream, output := io.Pipe()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := bwrap.Run(running, run.Cmd{Program: "bwrap", Name: j.Script, Args: j.arguments(), Env: bwrap.Env, Stdout: output})
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

// give makes the sandbox's user the owner of a directory and all in it, which then can be read whatever the modes are.
func give(dir string) error {
	if os.Geteuid() != 0 {
		return nil // outside, its user is this one
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := root.Lchown(name, user, user); err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) == 0 {
			return err
		}
		return root.Chmod(name, info.Mode()) // a new owner clears these bits
	})
}

// arguments are those of bwrap. Mounts are made in order, so read-only remounts come last.
func (j *Job) arguments() []string {
	id, limit := strconv.Itoa(user), strconv.FormatInt(int64(j.Size), 10)
	alone, become := slices.Concat(bwrap.Alone, []string{"--uid", id, "--gid", id, "--cap-drop", "ALL"}), []string(nil)
	if os.Geteuid() == 0 {
		alone = slices.Concat(bwrap.AloneAsRoot, []string{"--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"})
		become = []string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--inh-caps=-all"}
	}
	args := append(bwrap.Root(alone, j.Tools.Path("usr")), "--ro-bind", j.Tools.Path("etc"), "/etc", "--hostname", "build", "--clearenv")
	for _, dir := range []string{"/tmp", home, out} {
		args = append(args, "--perms", "0777", "--size", limit, "--tmpfs", dir)
	}
	for _, place := range slices.Sorted(maps.Keys(j.Inputs)) {
		args = append(args, "--ro-bind", j.Inputs[place], place)
	}
	args = append(args, "--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/")
	env := map[string]string{
		"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "TMPDIR": "/tmp", "OUT": out, "LANG": "C.UTF-8", "TZ": "UTC",
	}
	maps.Copy(env, j.Env)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		args = append(args, "--setenv", name, env[name])
	}
	// A limit of one byte also keeps a program away that the kernel hands core files to (core(5)).
	args = append(args, "prlimit", "--core=1", fmt.Sprintf("--fsize=%d", j.Size), fmt.Sprintf("--data=%d", j.Memory), fmt.Sprintf("--nproc=%d", maxProcesses))
	return slices.Concat(args, become, []string{"sh", "-c", wrapper, "build", j.Script})
}
