package release

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/flatcar/oem-sysext/oem/detect"
	"github.com/flatcar/oem-sysext/oem/platform"
	"github.com/flatcar/oem-sysext/release/base"
	"github.com/flatcar/oem-sysext/release/vm"
)

//go:embed trial.sh
var trialScript string

// trialTimeout is twice what a boot takes on a busy host without hardware virtualisation.
const trialTimeout = 10 * time.Minute

// Trial is what a machine says that booted the base with a platform's image merged.
type Trial struct {
	State   string            `json:"state"`   // of the service manager: running, degraded
	Merged  []string          `json:"merged"`  // extension images
	Units   map[string]string `json:"units"`   // the platform's active_units, each with its state
	Failed  []string          `json:"failed"`  // units
	Virt    string            `json:"virt"`    // what systemd-detect-virt prints
	DMI     map[string]string `json:"dmi"`     // files of /sys/class/dmi/id
	Seconds float64           `json:"seconds"` // since the kernel started

	Platform *platform.Platform `json:"-"`
	Verdict  detect.Verdict     `json:"-"` // what the machine is recognised as
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
	machine, err := w.trialMachine(ctx)
	if err != nil {
		return nil, err
	}
	machine.SMBIOS = showMarkers(p)
	machine.Files = map[string]string{"units": strings.Join(unitsOf(p), "\n") + "\n"}
	machine.Script = trialScript
	answer, err := vm.Run(ctx, machine)
	if err != nil {
		return nil, err
	}
	trial := &Trial{Platform: p}
	if err := json.Unmarshal(answer, trial); err != nil {
		return nil, err
	}
	trial.Verdict = detect.Judge(trial.machine(), candidates(w.catalogue))
	if !slices.Contains(trial.Merged, p.Image()) {
		return nil, fmt.Errorf("%s was not merged; merged are %v, and the system is %s", p.Image(), trial.Merged, trial.State)
	}
	return trial, nil
}

// trialMachine makes a machine with the base and the chosen platform's image in its first slot, and the platform's OEM partition.
func (w *workshop) trialMachine(ctx context.Context) (vm.Machine, error) {
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
		images = append(images, wholeImage(i))
	}
	empty, err := w.format(ctx)
	if err != nil {
		return vm.Machine{}, err
	}
	usr, err := w.embed(ctx, empty, images)
	if err != nil {
		return vm.Machine{}, err
	}
	oemFiles := map[string]string{"oem-release": "ID=" + w.chosen[0].ID.Value + "\n"}
	oemPartition, err := vm.OEM(ctx, w.tools, filepath.Join(w.scratch.Dir, "oem.img"), oemFiles)
	if err != nil {
		return vm.Machine{}, err
	}
	m := vm.Machine{
		Kernel: w.base.Kernel, Initrd: w.base.Initrd, Disk: filepath.Join(w.scratch.Dir, "trial.img"),
		Arguments: base.KernelArguments(vm.UsrAUUID, usr.Verity.RootHash),
		Dir:       w.scratch.Dir, Timeout: trialTimeout,
	}
	if m.Accel, err = vm.Probe(ctx, w.base.Kernel); err != nil {
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

// smbiosKeys are QEMU's names of DMI fields: the type of the table and the key in it.
var smbiosKeys = map[detect.Field][2]string{
	"bios_vendor": {"0", "vendor"}, "bios_version": {"0", "version"},
	"sys_vendor": {"1", "manufacturer"}, "product_name": {"1", "product"}, "product_version": {"1", "version"},
	"product_serial": {"1", "serial"}, "product_family": {"1", "family"},
	"board_vendor": {"2", "manufacturer"}, "board_name": {"2", "product"},
	"chassis_vendor": {"3", "manufacturer"}, "chassis_asset_tag": {"3", "asset"},
}

// showMarkers returns values of -smbios by which a machine fits the platform's first rule that only asks for what QEMU can show.
// Without such a rule the machine is one of QEMU.
func showMarkers(p *platform.Platform) []string {
	at := slices.IndexFunc(p.Detect, func(r detect.Rule) bool {
		_, hasUUID := r.DMI["product_uuid"]
		return len(r.DMI) > 0 && !hasUUID && r.Virt == "" && r.KernelArgument == "" && r.DiskLabel == "" && r.Hypervisor == detect.Hypervisor{}
	})
	if at < 0 {
		return nil
	}
	tables := map[string]string{}
	shown := map[detect.Field]string{"sys_vendor": "Trial", "product_name": "Trial"} // not what QEMU says by itself
	for field, pattern := range p.Detect[at].DMI {
		shown[field] = strings.NewReplacer("*", "", "?", "x").Replace(string(pattern))
	}
	for _, field := range slices.Sorted(maps.Keys(shown)) {
		key := smbiosKeys[field]
		tables[key[0]] += "," + key[1] + "=" + strings.ReplaceAll(shown[field], ",", ",,")
	}
	var values []string
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		values = append(values, "type="+table+tables[table])
	}
	return values
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
