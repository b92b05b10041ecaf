// Package story tells what happens to one disk whose machine runs one release and is updated to another one.
//
// In go two releases that can be installed and a platform; out come the machines that were booted, step by step, with what was
// asserted of each. Refused are releases that are not what their manifests say.
package story

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
	"github.com/flatcar/oem-sysext/release/ship"
)

// Installable is a release, and what of it goes into a slot.
type Installable struct {
	proof.Release
	Slot slot.Release
}

// Open opens the release in a directory, to be booted or to be put into a slot.
func Open(dir string) (Installable, error) {
	into, err := ship.Installable(dir)
	if err != nil {
		return Installable{}, err
	}
	r, err := proof.OpenRelease(dir)
	return Installable{Release: r, Slot: into}, err
}

// Teller tells stories of an update.
type Teller struct {
	*boot.Prover
	From, To Installable
	Delta    string // path of the payload that makes the one of the other, if there is one
}

// Story is a method of a Teller: what happens to a machine of one platform that runs one release and is updated to another one.
type Story func(t Teller, ctx context.Context, platform *platform.Platform) ([]proof.Machine, error)

// Stories tells a story for each of the platforms. Finished is called after each.
func (t Teller) Stories(ctx context.Context, tell Story, platforms []*platform.Platform, finished func()) (*proof.Proof, error) {
	told, err := proof.Begin(t.To.Release, t.Accel.Name)
	if err != nil {
		return nil, err
	}
	stories := make([][]proof.Machine, len(platforms))
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(t.Jobs)
	for i, platform := range platforms {
		group.Go(func() (err error) {
			one := t
			one.Prover = t.Nth(i, len(platforms))
			if stories[i], err = tell(one, running, platform); err != nil {
				return fmt.Errorf("platform %s: %w", platform.ID.Value, err)
			}
			finished()
			return nil
		})
	}
	err = group.Wait()
	told.Machines = slices.Concat(stories...)
	return told, err
}

// onOneDisk tells a story step by step, of a machine whose slot A has one release while the other one is for slot B.
func (t Teller) onOneDisk(
	ctx context.Context, a, b Installable, platform *platform.Platform, steps func(*story) []func() error,
) ([]proof.Machine, error) {
	dir, err := os.MkdirTemp(t.Scratch, platform.ID.Value+".")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s := &story{Prover: t.Prover, dir: dir, platform: platform, releases: map[string]Installable{"A": a, "B": b}, oem: boot.OEMFiles(platform)}
	todo := steps(s) // which may say what is on the disk
	if err := s.makeDisk(ctx, a); err != nil {
		return nil, err
	}
	for _, step := range todo {
		if err := step(); err != nil {
			return s.machines, err
		}
	}
	return s.machines, nil
}

// story is what happens to one disk.
type story struct {
	*boot.Prover
	dir      string
	platform *platform.Platform
	releases map[string]Installable // by slot

	oem, root map[string]string // files of the machine's partitions
	server    map[string]string // what stands for a network has, if there is one
	config    map[string]string // that the machine's configuration has, if it has one
	arguments []string          // of a machine that keeps what it writes

	machines []proof.Machine
}

func (s *story) disk() string { return filepath.Join(s.dir, "disk.img") }

// makeDisk makes the disk of a machine that has run one release only.
func (s *story) makeDisk(ctx context.Context, r Installable) error {
	oem, err := vm.OEM(ctx, s.Tools, filepath.Join(s.dir, "oem.img"), s.oem)
	if err != nil {
		return err
	}
	data := []vm.Partition{oem}
	if s.root != nil {
		root, err := vm.Root(ctx, s.Tools, filepath.Join(s.dir, "root.img"), s.root)
		if err != nil {
			return err
		}
		data = append(data, root)
	}
	if s.server != nil {
		server, err := vm.Server(ctx, s.Tools, filepath.Join(s.dir, "server.img"), s.server)
		if err != nil {
			return err
		}
		data = append(data, server)
	}
	efi := filepath.Join(s.dir, "efi.img")
	if err := errors.Join(os.WriteFile(efi, nil, 0o600), os.Truncate(efi, int64(disks.ESPSize))); err != nil {
		return err
	}
	if err := s.Tools.Run(ctx, toolroot.Cmd{Program: "mkfs.fat", Args: []string{"-n", "EFI-SYSTEM", efi}, Write: []string{efi}}); err != nil {
		return err
	}
	system := esp.Partition{Tools: s.Tools, Disk: efi}
	if err := errors.Join(system.MakeDir(ctx, filepath.Dir(esp.SlotA)), system.Write(ctx, r.Slot.Kernel.Path, esp.SlotA)); err != nil {
		return err
	}
	empty := vm.UsrB("")
	empty.Attributes, empty.Size = nil, size.GiB
	return vm.MakeDisk(ctx, s.Tools, s.disk(), append([]vm.Partition{
		{Number: 1, Name: "EFI-SYSTEM", Type: disks.ESPType, Content: efi}, vm.UsrA(r.Slot.Usr.Path), empty,
	}, data...))
}

// install does what the updater does.
func (s *story) install(ctx context.Context, r Installable) error {
	d, err := slot.Open(s.disk())
	if err != nil {
		return err
	}
	_, err = slot.Installer{Tools: s.Tools, Scratch: s.dir}.Install(ctx, d, r.Slot)
	return errors.Join(err, d.Close())
}

// shown adds what a machine has shown to the story.
func (s *story) shown(m proof.Machine) error {
	m, err := s.Shown(m, s.dir, fmt.Sprintf("%s-%d", s.platform.ID.Value, len(s.machines)))
	s.machines = append(s.machines, m)
	return err
}

// say tells one who watches.
func (s *story) say(format string, args ...any) {
	if s.Watch != nil {
		s.Watch(fmt.Sprintf(format, args...))
	}
}

// choose lets the boot loader choose.
func (s *story) choose() (slot.Slot, error) {
	d, err := slot.Open(s.disk())
	if err != nil {
		return slot.Slot{}, err
	}
	chosen, err := slot.Choose(d)
	return chosen, errors.Join(err, d.Close())
}

// find returns a slot by its name.
func (s *story) find(name string) (slot.Slot, error) {
	slots, _, err := slot.Read(s.disk())
	if err != nil {
		return slot.Slot{}, err
	}
	at := slices.IndexFunc(slots, func(found slot.Slot) bool { return found.Name == name })
	if at < 0 {
		return slot.Slot{}, fmt.Errorf("the disk has no slot %s", name)
	}
	return slots[at], nil
}

func chosenSlot(chosen slot.Slot, want string) proof.Outcome {
	o := proof.Outcome{Assertion: "the boot loader chooses slot " + want}
	if err := boot.Differ("the slot", chosen.Name, want); err != nil {
		o.Error = err.Error()
	}
	return o
}
