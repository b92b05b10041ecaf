// Package trial boots the base with one platform's image, without a release.
package trial

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/release"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/partition"
	"github.com/flatcar/oem-sysext/release/plan"
	"github.com/flatcar/oem-sysext/release/plan/signed"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Trial is what a machine says that booted the base with a platform's image merged.
type Trial struct {
	vm.Report
	Platform *platform.Platform
	Verdict  detect.Verdict // what the machine is recognised as
}

// Try boots a virtual machine with one platform's image embedded in the base, and with the platform's OEM partition.
// The machine has the platform's markers as far as QEMU can show them. An image that is not merged is an error.
// There is no network, so an agent that wants to talk to its cloud will say that it cannot.
func Try(ctx context.Context, o setup.Options, id string) (*Trial, error) {
	o.Platforms = []string{id}
	r, err := release.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.Bench.Close()
	p := r.Choice.Chosen[0]
	m, err := machine(ctx, r, p)
	if err != nil {
		return nil, err
	}
	trial := &Trial{Platform: p}
	if trial.Report, err = vm.Boot(ctx, m, vm.Question{Units: unitsOf(p)}); err != nil {
		return nil, err
	}
	trial.Verdict = detect.Judge(trial.facts(), candidates(r.Choice.Catalogue))
	if !slices.Contains(trial.Merged, p.Image()) {
		return nil, fmt.Errorf("%s was not merged; merged are %v, the system is %s, and it says: %s", p.Image(), trial.Merged, trial.State, trial.Linked)
	}
	return trial, nil
}

// machine makes one with the base and a platform's image in its first slot, and the platform's OEM partition.
func machine(ctx context.Context, r *release.Run, p *platform.Platform) (vm.Machine, error) {
	if r.Base.Initrd == "" {
		return vm.Machine{}, fmt.Errorf("a trial boots an initramfs beside the kernel, which base %s has not; choose a reference base", r.Base.ID)
	}
	usr, err := usrWith(ctx, r)
	if err != nil {
		return vm.Machine{}, err
	}
	scratch := r.Bench.Scratch
	oemPartition, err := vm.OEM(ctx, r.Bench.Tools, filepath.Join(scratch, "oem.img"), boot.OEMFiles(p))
	if err != nil {
		return vm.Machine{}, err
	}
	m := vm.Machine{
		Kernel: r.Base.Kernel, Initrd: r.Base.Initrd, Disk: filepath.Join(scratch, "trial.img"),
		Arguments: base.KernelArguments(disks.UsrAUUID, usr.Verity.RootHash), SMBIOS: boot.Markers(p),
		Dir: scratch, Timeout: boot.Timeout,
	}
	if m.Accel, err = boot.Accelerator(ctx, r.Bench, r.Base.Arch, r.Base.Kernel); err != nil {
		return m, err
	}
	return m, vm.MakeDisk(ctx, r.Bench.Tools, m.Disk, []vm.Partition{vm.UsrA(r.Bench.Blobs.Path(usr.SHA256)), oemPartition})
}

// usrWith embeds the images of the chosen platforms, each of which has all of its platform, so that there is nothing to plan.
func usrWith(ctx context.Context, r *release.Run) (partition.Partition, error) {
	factory, err := r.Factory()
	if err != nil {
		return partition.Partition{}, err
	}
	defer r.Bench.Downloads.End()
	built, err := factory.Build(ctx, r.Choice.Chosen)
	if err != nil {
		return partition.Partition{}, err
	}
	content := partition.Content{Updates: r.Updates()}
	if r.Keys.Image != nil {
		content.Trust.Own = r.Keys.Image.Certificate()
	}
	var images []plan.Image
	for _, i := range built {
		made, err := signed.Maker{Bench: r.Bench, Arch: r.Base.Arch}.Image(ctx, i.Platform.Image(), i.Image, r.Keys.Image)
		if err != nil {
			return partition.Partition{}, err
		}
		images = append(images, plan.WholeImage(i, made))
		content.Images = append(content.Images, images[len(images)-1].Embedded())
	}
	content.Platforms = plan.Activation(r.Choice.Catalogue, images)
	empty, err := r.Format(ctx)
	if err != nil {
		return empty, err
	}
	return partition.Embed(ctx, r.Bench, r.Base, empty, content)
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

func (t *Trial) facts() detect.Machine {
	m := detect.Machine{DMI: map[detect.Field]string{}, Virt: detect.Virt(t.Virt)}
	for field, value := range t.DMI {
		m.DMI[detect.Field(field)] = value
	}
	return m
}
