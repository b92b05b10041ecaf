package release

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/prove"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// bootTimeout is twice what a boot takes on a busy host without hardware virtualisation.
const bootTimeout = 10 * time.Minute

// Trial is what a machine says that booted the base with a platform's image merged.
type Trial struct {
	vm.Report
	Platform *platform.Platform
	Verdict  detect.Verdict // what the machine is recognised as
}

// Try boots a virtual machine with one platform's image embedded in the base, and with the platform's OEM partition.
// The machine has the platform's markers as far as QEMU can show them. An image that is not merged is an error.
// There is no network, so an agent that wants to talk to its cloud will say that it cannot.
func Try(ctx context.Context, o Options, id string) (*Trial, error) {
	o.Platforms = []string{id}
	w, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	p := w.chosen[0]
	machine, err := w.trialMachine(ctx, p)
	if err != nil {
		return nil, err
	}
	trial := &Trial{Platform: p}
	if trial.Report, err = vm.Boot(ctx, machine, vm.Question{Units: unitsOf(p)}); err != nil {
		return nil, err
	}
	trial.Verdict = detect.Judge(trial.machine(), candidates(w.catalogue))
	if !slices.Contains(trial.Merged, p.Image()) {
		return nil, fmt.Errorf("%s was not merged; merged are %v, the system is %s, and it says: %s", p.Image(), trial.Merged, trial.State, trial.Linked)
	}
	return trial, nil
}

// trialMachine makes a machine with the base and a platform's image in its first slot, and the platform's OEM partition.
func (w *workshop) trialMachine(ctx context.Context, p *platform.Platform) (vm.Machine, error) {
	if w.base.Initrd == "" {
		return vm.Machine{}, fmt.Errorf("a trial boots an initramfs beside the kernel, which base %s has not; choose a reference base", w.base.ID)
	}
	factory, err := w.factory(ctx)
	if err != nil {
		return vm.Machine{}, err
	}
	defer w.downloads.End()
	built, err := factory.Build(ctx, w.chosen)
	if err != nil {
		return vm.Machine{}, err
	}
	var images []image
	for _, i := range built {
		whole := wholeImage(i)
		if whole.onDisk, err = w.signImage(ctx, whole.Name, i.Image, w.imageKey); err != nil {
			return vm.Machine{}, err
		}
		images = append(images, whole)
	}
	empty, err := w.format(ctx)
	if err != nil {
		return vm.Machine{}, err
	}
	usr, err := w.embed(ctx, empty, images)
	if err != nil {
		return vm.Machine{}, err
	}
	oemPartition, err := vm.OEM(ctx, w.tools, filepath.Join(w.scratch.Dir, "oem.img"), prove.OEMFiles(p))
	if err != nil {
		return vm.Machine{}, err
	}
	m := vm.Machine{
		Kernel: w.base.Kernel, Initrd: w.base.Initrd, Disk: filepath.Join(w.scratch.Dir, "trial.img"),
		Arguments: base.KernelArguments(vm.UsrAUUID, usr.Verity.RootHash), SMBIOS: prove.Markers(p),
		Dir: w.scratch.Dir, Timeout: bootTimeout,
	}
	if m.Accel, err = w.accelerator(ctx, w.base.Kernel); err != nil {
		return m, err
	}
	return m, vm.MakeDisk(ctx, w.tools, m.Disk, []vm.Partition{vm.UsrA(w.blobs.Path(usr.SHA256)), oemPartition})
}

func candidates(platforms []*platform.Platform) []detect.Candidate {
	found := make([]detect.Candidate, len(platforms))
	for i, p := range platforms {
		found[i] = p.Candidate()
	}
	return found
}

func unitsOf(p *platform.Platform) []string {
	units := make([]string, len(p.ActiveUnits))
	for i, unit := range p.ActiveUnits {
		units[i] = unit.Value
	}
	return units
}

func (t *Trial) machine() detect.Machine {
	m := detect.Machine{DMI: map[detect.Field]string{}, Virt: detect.Virt(t.Virt)}
	for field, value := range t.DMI {
		m.DMI[detect.Field(field)] = value
	}
	return m
}

// Print writes the trial for people.
func (t *Trial) Print(out io.Writer) error {
	fmt.Fprintf(out, "%s is merged; after %.0f s the system is %s\n", t.Platform.Image(), t.Seconds, t.State)
	fmt.Fprintf(out, "the release says: %s\n", t.Linked)
	recognised := t.Verdict.ID
	if recognised == "" {
		recognised = "no single platform"
	}
	if len(t.Verdict.Maybe) > 0 {
		recognised += ", and may be " + strings.Join(t.Verdict.Maybe, ", ")
	}
	fmt.Fprintf(out, "by its markers the machine is recognised as %s\n", recognised)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, unit := range slices.Sorted(maps.Keys(t.Units)) {
		fmt.Fprintf(table, "  %s\t%s\n", unit, t.Units[unit])
	}
	for _, unit := range t.Failed {
		fmt.Fprintf(table, "  %s\tfailed\n", unit)
	}
	return table.Flush()
}
