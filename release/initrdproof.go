package release

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/atomicfile"
	"github.com/flatcar/oem-sysext/release/base"
	"github.com/flatcar/oem-sysext/release/cpio"
	"github.com/flatcar/oem-sysext/release/manifest"
	"github.com/flatcar/oem-sysext/release/vm"
)

// InitramfsProof is what two machines said: one with a platform's archive behind the base's initramfs, and one without.
// Their /usr has no image, so what they merge comes from the archive.
type InitramfsProof struct {
	Archive       manifest.File
	Image         string
	Modules       []string // that the initramfs should load from the image
	With, Without earlyReport
}

// earlyReport is what a machine merged.
type earlyReport struct {
	Initramfs []string `json:"initramfs"`
	Modules   []string `json:"modules"` // that were loaded in the initramfs
	System    []string `json:"system"`
	State     string   `json:"state"`
	Failed    []string `json:"failed"`
}

// probe notes in the initramfs what is merged there.
const probe = `[Unit]
Description=What is merged in the initramfs
DefaultDependencies=no
After=systemd-sysext.service systemd-sysext-initrd.service systemd-modules-load.service
Before=initrd.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c '[ ! -e /usr/.systemd-sysext/extensions ] || while read -r name; do echo "$name"; done </usr/.systemd-sysext/extensions >/run/initramfs-merged'
ExecStart=/bin/sh -c 'while read -r name rest; do echo "$name"; done </proc/modules >/run/initramfs-modules'
`

const earlyScript = `set -eu
state=$(systemctl is-system-running --wait || true)
failed=$(systemctl --failed --plain --no-legend | cut -d ' ' -f 1)
early=$(cat /run/initramfs-merged 2>/dev/null || true)
merged=$(cat /usr/.systemd-sysext/extensions 2>/dev/null || true)
jq --null-input --arg early "$early" --rawfile modules /run/initramfs-modules --arg merged "$merged" --arg state "$state" --arg failed "$failed" \
	'def lines: split("\n") | map(select(. != "")); {initramfs: ($early | lines), modules: ($modules | lines), system: ($merged | lines), state: $state, failed: ($failed | lines)}'
`

// ProveInitramfs boots the base with one of the platforms' archives behind its initramfs, and without it: the one with the
// most modules, and of these the smallest.
func ProveInitramfs(ctx context.Context, o Options) (*InitramfsProof, error) {
	w, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	return w.proveInitramfs(ctx)
}

func (w *workshop) proveInitramfs(ctx context.Context) (*InitramfsProof, error) {
	made, err := w.initrds(ctx)
	if err != nil {
		return nil, err
	}
	p := &InitramfsProof{}
	for _, i := range made {
		for _, f := range i.Files {
			if !strings.HasSuffix(f.Name, systemdForm) {
				continue
			}
			more := cmp.Compare(len(i.Modules), len(p.Modules))
			if p.Image == "" || more > 0 || more == 0 && f.Size < p.Archive.Size {
				p.Archive, p.Image, p.Modules = f, strings.TrimSuffix(f.Name, systemdForm), i.Modules
			}
		}
	}
	if p.Image == "" {
		return nil, errors.New("no platform that was asked for has an archive for this base's initramfs; wanted initrd: in its file, and a reference base of one stage")
	}
	machine, err := w.bareMachine(ctx)
	if err != nil {
		return nil, err
	}
	archive := w.blobs.Path(p.Archive.SHA256)
	if p.With, err = w.bootEarly(ctx, machine, archive); err == nil {
		p.Without, err = w.bootEarly(ctx, machine)
	}
	return p, err
}

// bareMachine has the base without images.
func (w *workshop) bareMachine(ctx context.Context) (vm.Machine, error) {
	empty, err := w.format(ctx)
	if err != nil {
		return vm.Machine{}, err
	}
	usr, err := w.embed(ctx, empty, nil)
	if err != nil {
		return vm.Machine{}, err
	}
	m := vm.Machine{
		Kernel: w.base.Kernel, Disk: filepath.Join(w.scratch.Dir, "bare.img"), Script: earlyScript,
		Arguments: base.KernelArguments(vm.UsrAUUID, usr.Verity.RootHash), Dir: w.scratch.Dir, Timeout: bootTimeout,
	}
	if m.Accel, err = vm.Probe(ctx, w.base.Kernel); err != nil {
		return m, err
	}
	return m, vm.MakeDisk(ctx, w.tools, m.Disk, []vm.Partition{vm.UsrA(w.blobs.Path(usr.SHA256))})
}

// bootEarly boots with archives, and one that asks, behind the base's initramfs.
func (w *workshop) bootEarly(ctx context.Context, m vm.Machine, archives ...string) (report earlyReport, err error) {
	asking := filepath.Join(w.scratch.Dir, "probe.cpio")
	if err := atomicfile.Write(asking, 0o600, writeProbe); err != nil {
		return report, err
	}
	m.Initrd = filepath.Join(w.scratch.Dir, "initrd")
	err = atomicfile.Write(m.Initrd, 0o600, func(out io.Writer) error {
		return joinPadded(out, slices.Concat([]string{w.base.Initrd}, archives, []string{asking}))
	})
	if err != nil {
		return report, err
	}
	said, err := vm.Run(ctx, m)
	if err != nil {
		return report, err
	}
	return report, json.Unmarshal(said, &report)
}

func writeProbe(out io.Writer) error {
	const dir, unit = "etc/systemd/system/", "oem-probe.service"
	w := cpio.NewWriter(out, time.Unix(0, 0))
	return errors.Join(
		w.Parents(dir+unit), w.File(dir+unit, 0o644, int64(len(probe)), strings.NewReader(probe)),
		w.Parents(dir+"initrd.target.wants/"+unit), w.Symlink(dir+"initrd.target.wants/"+unit, "../"+unit),
		w.Close(),
	)
}

// joinPadded joins files as boot loaders do: each one begins at a multiple of four.
func joinPadded(out io.Writer, files []string) error {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		n, err := io.Copy(out, f)
		f.Close()
		if err != nil {
			return err
		}
		if _, err := out.Write(make([]byte, -n&3)); err != nil {
			return err
		}
	}
	return nil
}

// Check returns what speaks against the archive.
func (p *InitramfsProof) Check() error {
	var errs []error
	expect := func(what string, got []string, want ...string) {
		if !slices.Equal(got, want) {
			errs = append(errs, fmt.Errorf("%s are merged %v; wanted %v", what, got, want))
		}
	}
	expect("with the archive, in the initramfs", p.With.Initramfs, p.Image)
	expect("with the archive, in the system", p.With.System, p.Image)
	expect("without the archive, in the initramfs", p.Without.Initramfs)
	expect("without the archive, in the system", p.Without.System)
	for _, module := range p.Modules {
		if !slices.Contains(p.With.Modules, module) {
			errs = append(errs, fmt.Errorf("with the archive, %s is not loaded in the initramfs; there are %v", module, p.With.Modules))
		}
		if slices.Contains(p.Without.Modules, module) {
			errs = append(errs, fmt.Errorf("without the archive, %s is loaded in the initramfs all the same", module))
		}
	}
	return errors.Join(errs...)
}

// PrintInitramfsProof writes a proof for people. What speaks against the archive is the error.
func PrintInitramfsProof(out io.Writer, p *InitramfsProof) error {
	if err := p.Check(); err != nil {
		return fmt.Errorf("%s: %w", p.Archive.Name, err)
	}
	_, err := fmt.Fprintf(out, "%s (%v) behind the initramfs: %s is merged there and in the system, modules loaded from it are %v; without it there is nothing of that\n",
		p.Archive.Name, p.Archive.Size, p.Image, p.Modules)
	return err
}
