//go:build nightly

package survey

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/image/rung"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// asksProgram succeeds if a program says what it is: it ends well, or prints how it is used, with one of the arguments that most have for that.
const asksProgram = `f() { for a in --version --help -V -h; do o=$(timeout 30 "$1" $a </dev/null 2>&1); s=$?; [ $s = 0 ] && return 0; ` +
	`case $o in *[Uu]sage*|*USAGE*) case $s in 126|127) ;; *) return 0 ;; esac ;; esac; done; echo "$o" | tail -n 3 | cut -c 1-200 | tr '\n' ' '; return $s; }; f `

// startsUnit succeeds if a unit is active shortly after it was started, or has ended well.
const startsUnit = `f() { systemctl start "$1"; sleep 3; p=$(systemctl show -p ActiveState,ConditionResult,Result "$1" | sort | tr '\n' ' '); ` +
	`case $p in ActiveState=active*|"ActiveState=inactive ConditionResult=yes Result=success ") r=0 ;; *) r=1 ;; esac; ` +
	`case $p in *Result=success*) journalctl -b -u "$1" -o cat --no-pager | grep -q ^Finished && r=0 ;; esac; [ $r = 0 ] || echo "$p"; ` +
	`[ $r = 0 ] || journalctl -u "$1" -n 5 -o cat --no-pager | cut -c 1-200 | tr '\n' ' '; systemctl stop "$1"; return $r; }; f `

// mostOfEach is how many programs, and how many units, of a package are tried.
const mostOfEach = 4

// programs returns the commands that show whether the programs of a package work.
func (one *surveyedOne) programs() (commands []check.Command) {
	for _, name := range one.Programs {
		if len(commands) == mostOfEach {
			break
		}
		for _, dir := range []string{"/usr/bin/", "/usr/sbin/"} {
			if e, has := one.staged.Tree.Find(dir + name); has && e.Type == tree.File {
				commands = append(commands, check.Command{Run: asksProgram + dir + name})
				break
			}
		}
	}
	return commands
}

// units returns the commands that start the units of a package.
func (one *surveyedOne) units() (commands []check.Command) {
	for _, name := range one.Units {
		e, has := one.staged.Tree.Find("/usr/lib/systemd/system/" + name)
		if has && e.Type == tree.File && !strings.Contains(name, "@") && len(commands) < mostOfEach {
			commands = append(commands, check.Command{Run: startsUnit + name})
		}
	}
	return commands
}

// subject is the program or unit that a command is about.
func subject(c check.Command) string { return c.Run[strings.LastIndex(c.Run, " ")+1:] }

// lacks is what a program says that misses something.
var lacks = regexp.MustCompile(`error while loading|cannot open shared|[Nn]ot found|No such file|No module named|Can't locate|ActiveState`)

// known are programs that lack the same when their package is installed, with the reason.
var known = map[string]string{
	"/usr/bin/catalyst.pl":      "Catalyst::Devel is in a package that this one does not depend on",
	"/usr/bin/dbicadmin":        "its modules are only suggested",
	"/usr/bin/dbiproxy":         "its modules are only suggested",
	"/usr/bin/dh_perl_dbi":      "for building packages of Debian",
	"/usr/bin/findrule":         "has none of the usual options, and says so",
	"/usr/bin/jardetector":      "wants a file, whatever its name",
	"/usr/sbin/debootstrap":     "wants perl, which no package of Debian depends on, and says so",
	"/usr/bin/ptked":            "needs a display, as all of perl-tk",
	"/usr/bin/ptksh":            "needs a display, as all of perl-tk",
	"/usr/bin/tkjpeg":           "needs a display, as all of perl-tk",
	"/usr/bin/gedi":             "needs a display, as all of perl-tk",
	"/usr/bin/widget":           "needs a display, as all of perl-tk",
	"/usr/bin/sensible-browser": "there is no browser to choose",
	"/usr/bin/sensible-editor":  "there is no editor to choose",
}

// judge returns what does not work of a package: a program or unit that misses something, and all that failed if nothing works.
// failed has what the commands said that failed.
func judge(commands []check.Command, failed map[int]string) (broken []string) {
	for i, text := range failed {
		name := subject(commands[i])
		if known[name] == "" && (lacks.MatchString(text) || len(failed) == len(commands)) {
			broken = append(broken, name+": "+text)
		}
	}
	slices.Sort(broken)
	return broken
}

// inMachine boots one machine with the images of all, as an administrator adds images, and sets what does not work.
func (s *surveyor) inMachine(ctx context.Context, w *release.Run, all []*surveyedOne) error {
	m, err := s.machine(ctx, w, all)
	if err != nil {
		return err
	}
	var lines []string
	for _, one := range all {
		for _, c := range slices.Concat(one.programs(), one.units()) {
			lines = append(lines, c.Run)
		}
	}
	report, err := vm.Boot(ctx, m, vm.Question{Commands: lines})
	if err != nil {
		return err
	}
	if len(report.Ran) != len(lines) || len(report.Merged) != len(all) {
		return fmt.Errorf("%d of %d commands ran; merged are %d of %d images: %q", len(report.Ran), len(lines), len(report.Merged), len(all), report.Merged)
	}
	ran := report.Ran
	for _, one := range all {
		commands, failed := slices.Concat(one.programs(), one.units()), map[int]string{}
		for i := range commands {
			if ran[i].Status != 0 {
				failed[i] = fmt.Sprintf("%d %s", ran[i].Status, ran[i].Said)
			}
		}
		one.Machine = judge(commands, failed)
		ran = ran[len(commands):]
	}
	return nil
}

func (s *surveyor) machine(ctx context.Context, w *release.Run, all []*surveyedOne) (vm.Machine, error) {
	empty, err := w.Format(ctx)
	if err != nil {
		return vm.Machine{}, err
	}
	usr, err := partition.Embed(ctx, w.Bench, w.Base, empty, partition.Content{Updates: w.Updates()})
	if err != nil {
		return vm.Machine{}, err
	}
	dir, err := os.MkdirTemp(w.Bench.Scratch, "survey.")
	if err != nil {
		return vm.Machine{}, err
	}
	root, err := s.root(ctx, w, all, dir)
	if err != nil {
		return vm.Machine{}, err
	}
	m := vm.Machine{
		Kernel: w.Base.Kernel, Initrd: w.Base.Initrd, Disk: filepath.Join(dir, "survey.img"),
		Arguments: append(base.KernelArguments(disks.UsrAUUID, usr.Verity.RootHash), vm.RootArguments()...),
		Dir:       dir, Timeout: time.Hour,
	}
	if m.Accel, err = boot.Accelerator(ctx, w.Bench, w.Base.Arch, w.Base.Kernel); err != nil {
		return m, err
	}
	return m, vm.MakeDisk(ctx, w.Bench.Tools, m.Disk, []vm.Partition{vm.UsrA(w.Bench.Blobs.Path(usr.SHA256)), root})
}

// imageOf is what an image is to be called (os-release(5), extension-release).
func imageOf(t tree.Tree) string {
	for _, e := range t.Under("/usr/lib/extension-release.d") {
		if e.Type == tree.File {
			return strings.TrimPrefix(path.Base(e.Path), "extension-release.")
		}
	}
	return ""
}

// root makes a partition of the machine's root file system, with the images where an administrator puts them.
func (s *surveyor) root(ctx context.Context, w *release.Run, all []*surveyedOne, dir string) (vm.Partition, error) {
	files := filepath.Join(dir, "root")
	extensions := filepath.Join(files, "var/lib/extensions")
	if err := os.MkdirAll(extensions, 0o755); err != nil {
		return vm.Partition{}, err
	}
	fast := rung.Default
	fast.Level = 1
	for _, one := range all {
		packed, err := s.factory.Packer.Image(ctx, one.staged.Tree, fast)
		if err != nil {
			return vm.Partition{}, err
		}
		out, err := os.Create(filepath.Join(extensions, imageOf(one.staged.Tree)+".raw"))
		if err != nil {
			return vm.Partition{}, err
		}
		if err := w.Bench.Blobs.CopyTo(out, packed.SHA256); err != nil {
			return vm.Partition{}, err
		}
		if err := out.Close(); err != nil {
			return vm.Partition{}, err
		}
	}
	p := vm.Partition{Number: 9, Name: "ROOT", Type: disks.DataType, Content: filepath.Join(dir, "root.img")}
	f, err := os.Create(p.Content)
	if err != nil {
		return p, err
	}
	if err := f.Truncate(8 << 30); err != nil {
		return p, err
	}
	if err := f.Close(); err != nil {
		return p, err
	}
	err = w.Bench.Tools.Run(ctx, toolroot.Cmd{
		Program: "mkfs.btrfs", Args: []string{"--quiet", "--metadata", "single", "--label", p.Name, "--rootdir", files, p.Content},
		Read: []string{files}, Write: []string{p.Content},
	})
	return p, err
}
