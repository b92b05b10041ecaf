// Package earlyboot proves that images in an initramfs are merged there, by booting machines whose /usr has none.
package earlyboot

import (
	"bytes"
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

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/cpio"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/plan/early"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Boot is one machine: what its initramfs has, what it should report, and what it reported.
type Boot struct {
	Name    string
	Want    report   // of Modules and Markers only those that count
	WantNot []string // modules that must not be loaded in the initramfs
	NoBoot  bool     // it must not come up
	Refused string   // part of the error that its archives are refused with; empty where they are sound
	Got     report
	Listing error // what early.List makes of its archives
	Err     error // why it did not come up

	platform string // of the machine; the one named to its initramfs, where that matters
	parts    []part
	early    []embed.File // in the second stage beside the activation
}

// part is what follows the base initramfs.
type part struct {
	content []byte
	path    string // to the content, where it is a file
	loose   bool   // not padded to a multiple of four bytes, as boot loaders do
}

// report is what a machine merged.
type report struct {
	Initramfs []string `json:"initramfs"`
	Modules   []string `json:"modules"` // that were loaded in the initramfs
	Markers   []string `json:"markers"` // files that archives left there
	System    []string `json:"system"`
	State     string   `json:"state"`
	Failed    []string `json:"failed"`
	Log       []string `json:"log"` // what the units say that merge and hand over
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
ExecStart=/bin/sh -c 'for file in /marker/* /oem/* /oem/sysext/*; do [ ! -f "$file" ] || echo "$file"; done >/run/initramfs-markers'
`

// probeFiles make an initramfs start the probe.
func probeFiles() []embed.File {
	const dir, unit = "etc/systemd/system/", "oem-probe.service"
	return []embed.File{
		{Path: dir + unit, Mode: 0o644, Content: []byte(probe)},
		{Path: dir + "initrd.target.wants/" + unit, Target: "../" + unit},
	}
}

const earlyScript = `set -eu
state=$(systemctl is-system-running --wait || true)
failed=$(systemctl --failed --plain --no-legend | cut -d ' ' -f 1)
early=$(cat /run/initramfs-merged 2>/dev/null || true)
merged=$(cat /usr/.systemd-sysext/extensions 2>/dev/null || true)
log=$(journalctl --boot --output=short-monotonic --no-hostname --unit='systemd-sysext*' --unit='oem-*' 2>/dev/null | tail -n 60)
jq --null-input --arg log "$log" --arg early "$early" --rawfile modules /run/initramfs-modules --rawfile markers /run/initramfs-markers \
	--arg merged "$merged" --arg state "$state" --arg failed "$failed" \
	'def lines: split("\n") | map(select(. != "")); {initramfs: ($early | lines), modules: ($modules | lines), markers: ($markers | lines),
		system: ($merged | lines), state: $state, failed: ($failed | lines), log: ($log | lines)}'
`

// Prove boots the base with one of the platforms' images in its initramfs, and without it: the one with the most modules, and
// of these the smallest.
func Prove(ctx context.Context, o setup.Options) (*proof.Proof, error) {
	r, err := release.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.Bench.Close()
	planned, err := r.Planner().Plan(ctx)
	if err != nil {
		return nil, err
	}
	w, err := newProver(ctx, r, planned)
	if err != nil {
		return nil, err
	}
	boots := w.secondStageBoots()
	if !early.TwoStages(r.Base) {
		if boots, err = w.oneStageBoots(ctx); err != nil {
			return nil, err
		}
	}
	return w.boot(ctx, boots)
}

// prover boots machines of a base whose platforms have images for an initramfs.
type prover struct {
	*release.Run
	maker   *early.Maker
	content partition.Content // of the release; its images are left out
	made    []manifest.Initrd
	empty   partition.Partition
}

func newProver(ctx context.Context, r *release.Run, planned *plan.Planned) (*prover, error) {
	maker, err := r.Planner().EarlyMaker(ctx, planned.Content.Trust)
	content := planned.Content
	content.Images, content.Choices, content.Platforms = nil, nil, plan.Activation(r.Choice.Catalogue, nil)
	return &prover{r, maker, content, planned.Initrds, planned.Empty}, err
}

func (w *prover) boot(ctx context.Context, boots []Boot) (*proof.Proof, error) {
	if len(boots) == 0 {
		return nil, errors.New("no platform that was asked for has an image for this base's initramfs; wanted initrd: in its file, " +
			"with second_stage: true where the initramfs lies in /usr")
	}
	accel, err := boot.Accelerator(ctx, w.Bench, w.Base.Arch, w.Base.Kernel)
	if err != nil {
		return nil, err
	}
	proven := &proof.Proof{Schema: proof.Schema, Version: w.Base.Version, Arch: string(w.Base.Arch), Base: w.Base.ID, Accel: accel.Name}
	for i := range boots {
		if err := w.bootOne(ctx, accel, &boots[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", boots[i].Name, err)
		}
		proven.Machines = append(proven.Machines, boots[i].machine())
	}
	return proven, nil
}

// bootOne boots the base without images. What keeps the machine from coming up is part of what there is to see.
func (w *prover) bootOne(ctx context.Context, accel vm.Accel, b *Boot) error {
	content := w.content
	content.Early = b.early
	usr, err := partition.Embed(ctx, w.Bench, w.Base, w.empty, content)
	if err != nil {
		return err
	}
	m := vm.Machine{
		Accel: accel, Kernel: w.Base.Kernel, Initrd: filepath.Join(w.Bench.Scratch, "initrd"), Disk: filepath.Join(w.Bench.Scratch, "bare.img"),
		Script: earlyScript, Arguments: base.KernelArguments(disks.UsrAUUID, usr.Verity.RootHash), Dir: w.Bench.Scratch, Timeout: boot.Timeout,
	}
	if b.NoBoot { // the disk never appears: systemd need not wait for it as long as for a slow one (kernel-command-line(7))
		m.Arguments = append(m.Arguments, "systemd.default_device_timeout_sec=20")
	}
	for _, p := range w.Choice.Catalogue {
		if p.ID.Value == b.platform {
			m.Arguments = append(m.Arguments, "flatcar.oem.id="+p.KernelID.Value)
		}
	}
	if err := vm.MakeDisk(ctx, w.Bench.Tools, m.Disk, []vm.Partition{vm.UsrA(w.Bench.Blobs.Path(usr.SHA256))}); err != nil {
		return err
	}
	asking, err := archiveOf(probeFiles()...)
	if err != nil {
		return err
	}
	// The probe comes first: a kernel unpacks nothing behind a part that it does not like.
	parts := slices.Concat([]part{{path: w.Base.Initrd}, {content: asking}}, b.parts)
	if err := atomicfile.Write(m.Initrd, 0o600, func(out io.Writer) error { return join(out, parts) }); err != nil {
		return err
	}
	b.Listing = early.List(m.Initrd, io.Discard)
	var said json.RawMessage
	err = w.Bench.Timed("boot of "+b.Name, func() error {
		var err error
		said, err = vm.Run(ctx, m)
		return err
	})
	if err != nil {
		b.Err = err
		return ctx.Err()
	}
	return json.Unmarshal(said, &b.Got)
}

// archiveOf writes files as an archive.
func archiveOf(files ...embed.File) ([]byte, error) {
	var out bytes.Buffer
	w := cpio.NewWriter(&out, time.Unix(0, 0))
	for _, f := range files {
		add := w.Parents(f.Path)
		if f.Target != "" {
			add = errors.Join(add, w.Symlink(f.Path, f.Target))
		} else {
			add = errors.Join(add, w.File(f.Path, uint32(f.Mode), int64(len(f.Content)), bytes.NewReader(f.Content)))
		}
		if add != nil {
			return nil, add
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// join joins parts as boot loaders do: each one begins at a multiple of four, but behind a loose one.
func join(out io.Writer, parts []part) error {
	for _, p := range parts {
		n := int64(len(p.content))
		var err error
		if p.path == "" {
			_, err = out.Write(p.content)
		} else {
			n, err = appendFile(out, p.path)
		}
		if err == nil && !p.loose {
			_, err = out.Write(make([]byte, -n&3))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func appendFile(out io.Writer, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(out, f)
}

// outcomes compares a machine with what was wanted of it.
func (b Boot) outcomes() []proof.Outcome {
	var archives error
	if listing := fmt.Sprint(b.Listing); (b.Refused == "") != (b.Listing == nil) || !strings.Contains(listing, b.Refused) {
		archives = fmt.Errorf("listing them gives %s; wanted %q", listing, b.Refused)
	}
	all := []proof.Outcome{proof.Assert("damaged archives are refused before it boots", archives)}
	switch {
	case b.NoBoot && b.Err == nil:
		return append(all, proof.Assert("it does not come up", errors.New("it comes up")))
	case b.NoBoot:
		return append(all, proof.Assert("it does not come up", nil))
	case b.Err != nil:
		return append(all, proof.Assert("it comes up", b.Err))
	}
	return append(all,
		proof.Assert("the initramfs merges its images and no others", differ(b.Got.Initramfs, b.Want.Initramfs)),
		proof.Assert("the system merges its images and no others", differ(b.Got.System, b.Want.System)),
		proof.Assert("archives leave their files in the initramfs", differ(b.Got.Markers, b.Want.Markers)),
		proof.Assert("modules are loaded in the initramfs", b.modules()),
	)
}

func differ(got, want []string) error {
	if slices.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("%v; wanted %v", got, want)
}

// modules is an error that names each module loaded or missing against what was wanted.
func (b Boot) modules() error {
	var errs []error
	for _, module := range b.Want.Modules {
		if !slices.Contains(b.Got.Modules, module) {
			errs = append(errs, fmt.Errorf("%s is not loaded; there are %v", module, b.Got.Modules))
		}
	}
	for _, module := range b.WantNot {
		if slices.Contains(b.Got.Modules, module) {
			errs = append(errs, fmt.Errorf("%s is loaded", module))
		}
	}
	return errors.Join(errs...)
}

// machine is what the boot proves.
func (b Boot) machine() proof.Machine {
	m := proof.Machine{Platform: cmp.Or(b.platform, "-"), Step: b.Name, Images: b.Want.System, Outcomes: b.outcomes()}
	if m.Faults() > 0 && len(b.Got.Log) > 0 {
		m.Error = fmt.Sprintf("the machine is %s, failed units are %v; its journal:\n\t%s", b.Got.State, b.Got.Failed, strings.Join(b.Got.Log, "\n\t"))
	}
	return m
}
