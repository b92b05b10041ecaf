package fleet

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/tools/bwrap"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/plan/compose/extension"
)

// Machine is one whose scripts run in a root directory of its own, without a boot: what the initramfs and the running system do to
// its files, and what systemd-sysext would merge. Images of its own are text files: their extension-release, and SYSEXT_ID= with the name
// for which they have that.
type Machine struct {
	Arguments []string // of the kernel

	dir   string
	tools *toolroot.Root
	arch  arch.Arch
	slots map[string]string // the /usr of each
	full  bool              // there is no room on the OEM partition
	said  string            // by the scripts since it was last looked at
}

// scriptTimeout ends a script that hostile files keep busy.
const scriptTimeout = "60"

// NewMachine makes a machine without slots and files, in an empty directory.
func NewMachine(dir string, tools *toolroot.Root, a arch.Arch) (*Machine, error) {
	m := &Machine{dir: dir, tools: tools, arch: a, slots: map[string]string{}}
	for _, name := range []string{"init/proc", "init/sysroot", "init/run", "init/programs", "init/dev", "init/mnt", "root/oem", "root/usr", "root/run", "root/mnt", "root/programs", "root/dev", "root/proc", "server"} {
		if err := os.MkdirAll(m.path(name), 0o755); err != nil {
			return nil, err
		}
	}
	for _, root := range []string{"init", "root"} {
		for _, name := range []string{"bin", "lib", "lib64"} {
			if err := os.Symlink("programs/"+name, m.path(root+"/"+name)); err != nil {
				return nil, err
			}
		}
	}
	for name, script := range map[string]string{
		// An image is mounted by copying what it says to where it would be found.
		"mount": `#!/programs/bin/sh
for last; do from=${to-} to=$last; done
case $from in
*/SERVER) [ -e /server/on ] && exec cp -r /server/. "$to" ;;
*) [ -f "$from" ] && grep -q '^SYSEXT_ID=' "$from" && mkdir -p "$to/usr/lib/extension-release.d" &&
	exec cp "$from" "$to/usr/lib/extension-release.d/extension-release.$(sed -n 's/^SYSEXT_ID=//p' "$from")" ;;
esac
exit 1
`,
		"umount":              "#!/programs/bin/sh\nrm -rf \"$1\"/*\n",
		"losetup":             "#!/programs/bin/sh\nexit 1\n",
		"systemd-detect-virt": "#!/programs/bin/sh\necho none\nexit 1\n",
	} {
		if err := m.write("stubs/"+name, script); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *Machine) write(name, content string) error {
	if err := os.MkdirAll(m.path(path.Dir(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.path(name), []byte(content), 0o755)
}

// Root is the directory of the machine's files: the root partition, and below /oem the OEM partition.
func (m *Machine) Root() string { return m.path("root") }

// Find returns where a path of the machine is that is on none of its slots, all links followed; empty if it is not there.
func (m *Machine) Find(name string) string {
	view := view{root: m.Root()}
	at := view.resolve(name)
	if at == "" || strings.HasPrefix(at, "/usr/") || strings.HasPrefix(at, "/run/") {
		return ""
	}
	return view.host(at)
}

// SetSlot gives a slot a /usr, which is only read.
func (m *Machine) SetSlot(name, usr string) { m.slots[name] = usr }

// run runs a shell script of a machine whose slot is mounted, in its initramfs or in the running system.
func (m *Machine) run(ctx context.Context, slot string, initramfs bool, args ...string) error {
	root, prefix := "root", ""
	if initramfs {
		root, prefix = "init", "/sysroot"
	}
	oem := "--bind"
	if m.full {
		oem = "--ro-bind" // nothing new can be put there
	}
	sandbox := []string{"--unshare-all", "--die-with-parent", "--new-session", "--seccomp", "3", "--clearenv", "--setenv", "PATH", "/stubs:/programs/bin", "--bind", m.path(root), "/"}
	if initramfs {
		sandbox = append(sandbox, "--bind", m.path("root"), "/sysroot", "--bind-try", m.path("slots/"+slot+"/after"), "/after")
	}
	sandbox = append(sandbox,
		"--ro-bind", m.slots[slot], prefix+"/usr", oem, m.path("root/oem"), prefix+"/oem",
		"--bind", m.path("run"), "/run", "--ro-bind", m.path("proc"), "/proc",
		"--ro-bind", m.tools.Path("usr"), "/programs", "--ro-bind", m.path("stubs"), "/stubs", "--ro-bind", m.path("server"), "/server",
		"--dev-bind", "/dev/null", "/dev/null",
		"--ro-bind-try", m.path("slots"), "/slots", "timeout", scriptTimeout)
	var out bytes.Buffer
	err := bwrap.Run(ctx, run.Cmd{Program: "bwrap", Args: append(sandbox, args...), Env: run.HostEnv("PATH"), Stdout: &out})
	m.said += out.String()
	if failed := (*run.Error)(nil); errors.As(err, &failed) {
		m.said += failed.Stderr
		return failed.Err // the command is long
	}
	return err
}

// starts is what a boot begins with: nothing in /run.
func (m *Machine) starts() error {
	for _, dir := range []string{"run", "root/run"} {
		if err := errors.Join(os.RemoveAll(m.path(dir)), os.MkdirAll(m.path(dir), 0o755)); err != nil {
			return err
		}
	}
	if err := m.write("proc/sys/kernel/arch", m.arch.Systemd()+"\n"); err != nil {
		return err
	}
	return m.write("proc/cmdline", strings.Join(m.Arguments, " ")+"\n")
}

// activate runs the script of a slot's release that links images, if it has one.
func (m *Machine) activate(ctx context.Context, slot string, initramfs bool) error {
	root, args := "", []string(nil)
	if initramfs {
		root, args = "/sysroot", []string{"/sysroot"}
	}
	if _, err := os.Stat(filepath.Join(m.slots[slot], activate.Script)); err != nil {
		return nil //nolint:nilerr // it embeds nothing
	}
	return m.run(ctx, slot, initramfs, append([]string{"/bin/sh", root + "/usr/" + activate.Script}, args...)...)
}

// Activate lets the release in a slot decide what is merged, in the initramfs and in the running system, and returns what its script says,
// and what is merged: paths by name.
func (m *Machine) Activate(ctx context.Context, slot string) (said string, merged map[string]string, err error) {
	m.said = ""
	if err := errors.Join(m.starts(), m.activate(ctx, slot, true), m.activate(ctx, slot, false)); err != nil {
		return m.said, nil, err
	}
	merged, err = m.merged(slot, "run")
	return m.said, merged, err
}

// merged tells what systemd-sysext would merge: the first of each name in its directories, if it is for this system. The argument is where the
// machine's /run is.
func (m *Machine) merged(slot, run string) (map[string]string, error) {
	view := view{root: m.path("root"), usr: m.slots[slot], run: m.path(run)}
	content, err := readBounded(filepath.Join(view.usr, "lib/os-release"))
	if err != nil {
		return nil, err
	}
	system, err := extension.ParseOS(content, m.arch)
	if err != nil {
		return nil, err
	}
	merged, seen := map[string]string{}, map[string]bool{}
	for _, dir := range []string{"/etc/extensions", "/run/extensions", "/var/lib/extensions"} {
		entries, err := os.ReadDir(view.host(view.resolve(dir)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return nil, err
		}
		for _, entry := range entries {
			name := strings.TrimSuffix(entry.Name(), ".raw")
			at := view.resolve(path.Join(dir, entry.Name()))
			if at == "" || seen[name] {
				continue
			}
			seen[name] = true
			if strings.HasPrefix(at, "/usr/") || view.releaseOf(at, name).Fits(system) == nil {
				merged[name] = at
			}
		}
	}
	return merged, nil
}

// view is what a machine sees at its paths.
type view struct{ root, usr, run string }

// host returns where a path without links is outside.
func (v view) host(at string) string {
	for _, mounted := range []struct{ at, outside string }{{"/usr", v.usr}, {"/run", v.run}} {
		if below, is := strings.CutPrefix(at, mounted.at); is && (below == "" || below[0] == '/') {
			return mounted.outside + below
		}
	}
	return v.root + at
}

// resolve follows all links of a path as the machine would, which keeps it below the machine's root. It is empty for what is not there.
func (v view) resolve(name string) string {
	done, rest := "/", strings.Split(name, "/")
	for steps := 0; len(rest) > 0; steps++ {
		if steps > 200 {
			return ""
		}
		next := path.Join(done, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(v.host(next))
		if err != nil {
			return ""
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		target, err := os.Readlink(v.host(next))
		if err != nil {
			return ""
		}
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done
}

// releaseOf returns the extension-release of an image or a directory; nothing if it has none, or that of another name.
func (v view) releaseOf(at, name string) extension.Release {
	if info, err := os.Stat(v.host(at)); err == nil && info.IsDir() {
		at = v.resolve(path.Join(at, "usr/lib/extension-release.d/extension-release."+name))
	}
	content, err := readBounded(v.host(at))
	if err != nil {
		return nil
	}
	values, err := osrelease.Parse(content)
	if err != nil || values["SYSEXT_ID"] != "" && values["SYSEXT_ID"] != name {
		return nil
	}
	return values
}

// readBounded reads a file that is as long as a file like os-release may be.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > osrelease.MaxLength {
		return nil, errors.Join(err, errors.New("it is no short file"))
	}
	content := make([]byte, osrelease.MaxLength)
	n, err := f.Read(content)
	return content[:n], err
}
