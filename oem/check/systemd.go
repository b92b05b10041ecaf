package check

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/run"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tools/bwrap"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// The base's own systemd checks units, sysusers.d, tmpfiles.d and device rules of the image, merged as on a machine.
// Each warning is a problem, except those about the base alone.
//
// It runs in a sandbox: as an unmapped user, without network or files of the host, and starts no unit.

// judges are the commands that check; their standard error is the verdict. Arguments are the image's units.
const judges = `[ $# -eq 0 ] || systemd-analyze verify --man=no -- "$@" 2>&1
systemd-sysusers --dry-run 2>&1
systemd-tmpfiles --dry-run --create 2>&1
udevadm verify --no-style --no-summary 2>&1
exit 0`

// merge mounts the image over the base in a mount namespace, which ends with the program run in it.
const merge = `cd "$1" && shift && mount -t overlay -o lowerdir=image:merged:base overlay usr && exec "$@"`

// Programs are the host programs that a check runs.
func Programs() []string { return []string{"unshare", "mount", "prlimit", "bwrap"} }

// unitTypes are the suffixes of units that systemd-analyze verifies.
var unitTypes = []string{".automount", ".mount", ".path", ".service", ".slice", ".socket", ".swap", ".target", ".timer"}

// systemd runs the base's systemd, if the host has the base's architecture.
func (c *Checker) systemd(ctx context.Context, t tree.Tree) ([]Problem, error) {
	isNative := string(c.base.Arch) == runtime.GOARCH
	if _, has := c.base.Usr.Find("/usr/bin/systemd-analyze"); !has || !isNative {
		return nil, nil
	}
	known, err := store.Memo(ctx, c.results.Step("check-base", []any{revision, c.digest}), store.Nothing, func() ([]string, error) {
		return c.judge(ctx, nil, unitsOf(c.base.Usr))
	})
	if err != nil {
		return nil, err
	}
	said, err := c.judge(ctx, t, unitsOf(t))
	var problems []Problem
	for _, line := range said {
		if !slices.Contains(known, line) {
			problems = append(problems, verdict(line))
		}
	}
	return problems, err
}

// verdict turns a line of output into a problem. Most lines begin with a file name.
func verdict(line string) Problem {
	if match := aboutFile.FindStringSubmatch(line); match != nil {
		return Problem{Path: match[1], Text: fmt.Sprintf("line %s: systemd reports: %s; correct it, or prune the file", match[2], match[3])}
	}
	return Problem{Path: "systemd", Text: fmt.Sprintf("says %q; correct the unit or what it needs, or prune it", line)}
}

var aboutFile = regexp.MustCompile(`^(/\S+?):([0-9]+):? (.*)$`)

// unitsOf returns the units that a tree has, or has drop-ins for.
func unitsOf(t tree.Tree) []string {
	const dir = "/usr/lib/systemd/system"
	var units []string
	for _, e := range t.Under(dir) {
		name, isDropIn := path.Base(e.Path), false
		if e.Type == tree.Dir {
			name, isDropIn = strings.CutSuffix(name, ".d")
		}
		if path.Dir(e.Path) != dir || e.Type == tree.Dir && !isDropIn || e.Type == tree.Symlink {
			continue
		}
		if slices.Contains(unitTypes, path.Ext(name)) {
			units = append(units, name)
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}

// judge merges a tree over the base and returns the output lines of the judges.
func (c *Checker) judge(ctx context.Context, t tree.Tree, units []string) ([]string, error) {
	dir, err := os.MkdirTemp(c.scratch, "check.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := c.layOut(dir, t, c.place); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = bwrap.Run(ctx, run.Cmd{
		Program: "unshare",
		Name:    "the check of units, users and files",
		Args: slices.Concat([]string{"--mount", "--", "sh", "-c", merge, "merge", dir},
			sandbox(dir, c.base.Dir), []string{"sh", "-c", judges, "judges"}, units),
		Env:    slices.Concat(bwrap.Env, []string{"SYSTEMD_LOG_LEVEL=warning"}),
		Stdout: &limited{&out, maxText},
	})
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.TrimRight(line, "\n"))
	}
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// sandbox returns bwrap arguments: the judges see the merged /usr and the base's /etc with the accounts of base and image.
func sandbox(dir, base string) []string {
	args := slices.Concat([]string{"bwrap"}, bwrap.Root(bwrap.Alone, filepath.Join(dir, "usr")), bwrap.ReadOnlyProc, []string{"--tmpfs", "/tmp", "--dir", "/root"})
	etc, err := filepath.Glob(filepath.Join(base, "share/flatcar/etc/*"))
	if err != nil {
		etc = nil // the pattern is constant and valid
	}
	for _, file := range etc {
		args = append(args, "--ro-bind-try", file, filepath.Join("/etc", filepath.Base(file)))
	}
	for _, name := range accountFiles {
		args = append(args, "--ro-bind", filepath.Join(dir, name), filepath.Join("/etc", name))
	}
	return args
}

// accountFiles are files of a booted machine's /etc, which layOut makes.
var accountFiles = []string{"passwd", "group", "machine-id"}

// layOut fills dir: image, base and an empty usr for the overlay, and the accounts of a booted machine. Place makes an entry of the image.
func (c *Checker) layOut(dir string, t tree.Tree, place func(image *os.Root, name string, e tree.Entry) error) error {
	for _, name := range []string{"image", "merged", "usr"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink(c.base.Dir, filepath.Join(dir, "base")); err != nil {
		return err
	}
	for name, files := range map[string]tree.Tree{"image": t, "merged": c.base.Merged} {
		if err := layOutTree(filepath.Join(dir, name), files, place); err != nil {
			return err
		}
	}
	v := view{image: t, base: c.base, blobs: c.blobs}
	known, err := v.accounts()
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"passwd": known.PasswdFile(), "group": known.GroupFile(),
		"machine-id": digest.Of([]byte("check")).String()[:32] + "\n", // any id will do
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func layOutTree(dir string, t tree.Tree, place func(image *os.Root, name string, e tree.Entry) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, e := range t {
		if below, isUsr := strings.CutPrefix(e.Path, "/usr/"); isUsr {
			if err := place(root, below, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// place creates one entry. Only files that the judges read have content; the others just have to exist.
func (c *Checker) place(image *os.Root, name string, e tree.Entry) error {
	switch {
	case e.Type == tree.Dir:
		return image.Mkdir(name, 0o755)
	case e.Type == tree.Symlink:
		return image.Symlink(e.Target, name)
	case isRead(e.Path):
		parent, err := image.Open(path.Dir(name))
		if err != nil {
			return err
		}
		defer parent.Close()
		return unix.Linkat(unix.AT_FDCWD, c.blobs.Path(e.SHA256), int(parent.Fd()), path.Base(name), 0)
	}
	f, err := image.OpenFile(name, os.O_CREATE|os.O_EXCL, os.FileMode(e.Mode&0o777))
	if err != nil {
		return err
	}
	return f.Close()
}

func isRead(name string) bool {
	for _, dir := range []string{"/usr/lib/systemd/", "/usr/lib/sysusers.d/", "/usr/lib/tmpfiles.d/", "/usr/lib/udev/rules.d/"} {
		if strings.HasPrefix(name, dir) && path.Ext(name) != "" {
			return true
		}
	}
	return false
}

// limited fails writes above a limit.
type limited struct {
	io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("more than %d bytes of warnings", maxText)
	}
	return l.Writer.Write(p)
}
