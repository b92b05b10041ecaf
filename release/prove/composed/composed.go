// Package composed proves that releases are composed right: two releases of extensions that other programs made, and machines
// whose configuration asks for one set after the other.
package composed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/build"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/definition/strictyaml"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/setup"
)

// The releases that the proof of composing makes. The packages are Debian's, the images of other programs than ours.
const (
	proofHead = "summary: s\nplatforms: [qemu]\nheadroom: 64 MiB\nimages: 64 MiB\nmax_images: 5\nextensions:\n"
	proofOld  = proofHead + `
- {name: dos2unix, version: "1", file: dos2unix-1.raw, enable: by-name, default: true}
- {name: tree, file: tree.raw, enable: always}
`
	proofNew = proofHead + `
- {name: dos2unix, version: "1", file: dos2unix-1.raw, enable: by-name}
- {name: dos2unix, version: "2", file: dos2unix-2.raw, enable: by-name, default: true}
- {name: tree, file: tree.raw, enable: by-name}
- {name: figlet, file: figlet.raw, flatten: true}
`
)

// composeStep is one boot of a machine of the cloud qemu, with its configuration, and what must be active then.
type composeStep struct {
	name   string
	old    bool              // from the slot with the older release
	files  map[string]string // on the root file system
	merged []string          // beside the platform's images
	lies   string            // a file that a loop device shows, below the images' directory
	says   string            // a line of the release
}

var composeSteps = []composeStep{
	{
		name: "one version chosen, an unknown name, the rest off", merged: []string{"dos2unix"}, lies: "dos2unix.raw.v/dos2unix_1.raw",
		files: map[string]string{"etc/flatcar/enabled-sysext.conf": "dos2unix=1\nzfs\n", "etc/flatcar/oem-sysext.conf": "nope\n"},
		says:  "nope is not in this release (nope in /etc/flatcar/oem-sysext.conf)",
	}, {
		name: "another choice at the next boot, and a mask", merged: []string{"dos2unix"}, lies: "dos2unix.raw.v/dos2unix_2.raw",
		files: map[string]string{"etc/flatcar/enabled-sysext.conf": "dos2unix\ntree\n", "etc/extensions/tree/": ""},
		says:  "tree is not linked: /etc/extensions/tree is the user's choice",
	}, {
		// The configuration is the first machine's, so it is the release that decides.
		name: "after a rollback", old: true, merged: []string{"dos2unix", "tree"}, lies: "dos2unix.raw",
		files: map[string]string{"etc/flatcar/enabled-sysext.conf": "dos2unix=1\nnope\n"},
		says:  "linked tree: always in this release",
	},
}

// Prove makes extensions from packages of Debian with mksquashfs, mkfs.erofs and systemd-repart, composes two releases of them,
// and boots machines of them whose configurations ask for one set after the other. Exactly that must be active.
func Prove(ctx context.Context, o setup.Options) (*proof.Proof, error) {
	dir, err := os.MkdirTemp("", "compose.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// Before there are images, there is a profile without any, for the workshop in which they are made.
	empty := filepath.Join(dir, "empty.yaml")
	if err := os.WriteFile(empty, []byte(strings.TrimSuffix(proofHead, "extensions:\n")), 0o600); err != nil {
		return nil, err
	}
	o.Profile = empty
	r, err := release.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.Bench.Close()
	w := &prover{Run: r, consoles: filepath.Join(o.Output, boot.ConsolesDir)}
	if w.Base.Initrd == "" {
		return nil, fmt.Errorf("the proof boots an initramfs beside the kernel, which base %s has not; choose a reference base", w.Base.ID)
	}
	if err := w.proofImages(ctx, dir); err != nil {
		return nil, err
	}
	var slots [2]composedSlot // the new release's, the old one's
	for i, content := range []string{proofNew, proofOld} {
		o.Profile = filepath.Join(dir, []string{"new.yaml", "old.yaml"}[i])
		if err := os.WriteFile(o.Profile, []byte(content), 0o600); err != nil {
			return nil, err
		}
		if slots[i], err = composeSlot(ctx, o); err != nil {
			return nil, err
		}
	}
	accel, err := boot.Accelerator(ctx, w.Bench, w.Base.Arch, w.Base.Kernel)
	if err != nil {
		return nil, err
	}
	proven := &proof.Proof{Schema: proof.Schema, Version: w.Base.Version, Arch: string(w.Base.Arch), Base: w.Base.ID}
	shown := w.Bench.Progress.Items("machines", len(composeSteps))
	defer shown.End()
	for i, step := range composeSteps {
		m, err := w.composeBoot(ctx, accel, step, slots, filepath.Join(w.consoles, fmt.Sprintf("compose-%s-%d.log", w.Base.ID, i+1)))
		if err != nil {
			return proven, err
		}
		proven.Machines = append(proven.Machines, m)
		shown.Add(1)
	}
	return proven, nil
}

// prover makes the images and boots the machines.
type prover struct {
	*release.Run
	consoles string
}

// composedSlot is a partition with the images of a profile.
type composedSlot struct {
	partition.Partition
	platform []string // names of the platform's images
}

func composeSlot(ctx context.Context, o setup.Options) (composedSlot, error) {
	r, err := release.Open(ctx, o)
	if err != nil {
		return composedSlot{}, err
	}
	defer r.Bench.Close()
	planned, err := r.Planner().Plan(ctx)
	if err != nil {
		return composedSlot{}, err
	}
	var s composedSlot
	for _, i := range planned.Images {
		s.platform = append(s.platform, i.Name)
	}
	s.Partition, err = partition.Embed(ctx, r.Bench, r.Base, planned.Flat, planned.Content)
	return s, err
}

// proofImages makes the images in a directory.
func (w *prover) proofImages(ctx context.Context, dir string) error {
	others, err := w.Bench.ScriptTools(ctx, "", []string{"systemd-repart", "erofs-utils", "squashfs-tools"})
	if err != nil {
		return err
	}
	factory, err := w.Factory()
	if err != nil {
		return err
	}
	defer w.Bench.Downloads.End()
	squashfs := func(from, to string) toolroot.Cmd {
		return toolroot.Cmd{Program: "mksquashfs", Args: []string{from, to, "-quiet", "-no-progress"}}
	}
	for _, one := range []struct {
		file, name string
		write      func(from, to string) toolroot.Cmd
	}{
		{"tree.raw", "tree", squashfs},
		{"dos2unix-1.raw", "dos2unix", func(from, to string) toolroot.Cmd {
			return toolroot.Cmd{Program: "mkfs.erofs", Args: []string{"--quiet", "-zlz4hc", to, from}}
		}},
		{"dos2unix-2.raw", "dos2unix", func(from, to string) toolroot.Cmd {
			definitions := filepath.Join(dir, "definitions")
			return toolroot.Cmd{Program: "systemd-repart", Env: []string{"TMPDIR=/tmp"}, Args: []string{
				"--empty=create", "--size=auto", "--dry-run=no", "--offline=yes", "--definitions=" + definitions, "--copy-source=" + from, to,
			}}
		}},
		{"figlet.raw", "figlet", squashfs},
	} {
		from := filepath.Join(dir, one.file+".tree")
		if err := w.proofTree(ctx, factory.Builder, one.name, from); err != nil {
			return err
		}
		c := one.write(from, filepath.Join(dir, one.file))
		c.Write = []string{dir}
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "definitions"), 0o755),
			os.WriteFile(filepath.Join(dir, "definitions/root.conf"), []byte("[Partition]\nType=root\nFormat=squashfs\nCopyFiles=/:/\nMinimize=best\n"), 0o644)); err != nil {
			return err
		}
		if err := others.Run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// proofTree lays out a package of Debian with what it depends on and the base does not have, as an extension of its name.
func (w *prover) proofTree(ctx context.Context, b *build.Builder, name, to string) error {
	r := &recipe.Recipe{File: "the proof", Arches: []arch.Arch{w.Base.Arch}, Name: strictyaml.Text{Value: name}}
	r.Sources = []recipe.Source{{Deb: &recipe.Deb{Suite: w.Base.Suite.Suite, Packages: []strictyaml.Text{r.Name}}}}
	resolved, err := b.Resolve(ctx, r, w.Base.Arch)
	if err != nil {
		return err
	}
	t, err := b.Tree(ctx, resolved)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := t.Without(w.Base.Target.Usr).WriteTo(root, w.Bench.Blobs.CopyTo); err != nil {
		return err
	}
	const said = "usr/lib/extension-release.d"
	content := fmt.Sprintf("ID=flatcar\nSYSEXT_LEVEL=1.0\nARCHITECTURE=%s\n", w.Base.Arch.Systemd())
	return errors.Join(root.MkdirAll(said, 0o755), root.WriteFile(said+"/extension-release."+name, []byte(content), 0o644))
}

// composeBoot boots the machine of a step. When something is wrong with it, its console is kept.
func (w *prover) composeBoot(ctx context.Context, accel vm.Accel, step composeStep, slots [2]composedSlot, console string) (proof.Machine, error) {
	machine := proof.Machine{Platform: "qemu", Step: step.name}
	dir, err := os.MkdirTemp(w.Bench.Scratch, "boot.")
	if err != nil {
		return machine, err
	}
	defer os.RemoveAll(dir)
	oem, err := vm.OEM(ctx, w.Bench.Tools, filepath.Join(dir, "oem.img"), map[string]string{"oem-release": "ID=qemu\n"})
	if err != nil {
		return machine, err
	}
	root, err := vm.Root(ctx, w.Bench.Tools, filepath.Join(dir, "root.img"), step.files)
	if err != nil {
		return machine, err
	}
	from, uuid := slots[0], disks.UsrBUUID
	if step.old {
		from, uuid = slots[1], disks.UsrAUUID
	}
	m := vm.Machine{
		Accel: accel, Kernel: w.Base.Kernel, Initrd: w.Base.Initrd, Disk: filepath.Join(dir, "disk.img"), Dir: dir, Timeout: boot.Timeout,
		Arguments: append(base.KernelArguments(uuid, from.Verity.RootHash), vm.RootArguments()...),
	}
	partitions := []vm.Partition{vm.UsrA(w.Bench.Blobs.Path(slots[1].SHA256)), vm.UsrB(w.Bench.Blobs.Path(slots[0].SHA256)), oem, root}
	if err := vm.MakeDisk(ctx, w.Bench.Tools, m.Disk, partitions); err != nil {
		return machine, err
	}
	machine.Images = slices.Concat(from.platform, step.merged)
	slices.Sort(machine.Images)
	want := step.expect(w.Base.VersionID, machine.Images)
	report, err := vm.Boot(ctx, m, want.Question())
	if err != nil {
		machine.Error = err.Error()
	} else {
		machine.Seconds, machine.Outcomes = report.Seconds, step.judge(want, report)
	}
	if ctx.Err() != nil || !machine.Failed() {
		return machine, ctx.Err()
	}
	machine.Console, err = boot.KeepConsole(dir, console)
	return machine, err
}

// programs are what the extensions bring, by name; figlet is part of the newer release's /usr.
var programs = map[string]string{"dos2unix": "/usr/bin/dos2unix", "tree": "/usr/bin/tree", "figlet": "/usr/bin/figlet-figlet"}

// expect is what the release promises of the step's machine, whose images are merged.
func (s composeStep) expect(versionID string, images []string) boot.Expectation {
	e := boot.Expectation{VersionID: versionID, Reason: s.says, Images: images, Lying: map[string]string{}}
	if !s.old {
		e.Flattened = []string{"figlet"}
	}
	for name, path := range programs {
		if slices.Contains(s.merged, name) || slices.Contains(e.Flattened, name) {
			e.Requires = append(e.Requires, path)
		} else {
			e.Foreign = append(e.Foreign, path)
		}
	}
	e.Lying["dos2unix"] = embed.Dir + "/" + s.lies
	return e
}

// judge compares a machine with what was asked for.
func (s composeStep) judge(want boot.Expectation, r vm.Report) []proof.Outcome {
	var err error
	if strings.Count(r.Linked, s.says) != 1 {
		err = fmt.Errorf("the release says %q", r.Linked)
	}
	return append(want.Check(r), proof.Assert("one line says what is not there, or why", err))
}
