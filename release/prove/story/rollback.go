package prove

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// Installable is a release, and what of it goes into a slot.
type Installable struct {
	Release
	Slot slot.Release
}

// healthCheck is a unit that fails, as a check does that finds a new release wanting. A machine with a failed unit
// does not mark its slot as one that boots.
const (
	healthCheck     = "health-check.service"
	healthCheckUnit = "[Unit]\nBefore=multi-user.target\n[Service]\nType=oneshot\nExecStart=/bin/false\n"
)

// Story is a method of a Prover: what happens to a machine of one platform that runs one release and is updated to another one.
type Story func(p *Prover, ctx context.Context, from, to Installable, platform *platform.Platform) ([]Machine, error)

// Stories tells a story for each of the platforms. Finished is called after each.
func (p *Prover) Stories(ctx context.Context, tell Story, from, to Installable, platforms []*platform.Platform, finished func()) (*Proof, error) {
	proof, err := p.begin(to.Release)
	if err != nil {
		return nil, err
	}
	stories := make([][]Machine, len(platforms))
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(p.Jobs)
	for i, platform := range platforms {
		group.Go(func() (err error) {
			if stories[i], err = tell(p.nth(i, len(platforms)), running, from, to, platform); err != nil {
				return fmt.Errorf("platform %s: %w", platform.ID.Value, err)
			}
			finished()
			return nil
		})
	}
	err = group.Wait()
	proof.Machines = slices.Concat(stories...)
	return proof, err
}

// Rollback tells one story on one disk: a machine runs the old release with its tools; an installation of the new one is
// cut off, and the old one still boots; it is installed in whole and boots, with its own tools, but a health check fails;
// so the next boot is the old release's, with the old tools, and without a network.
func (p *Prover) Rollback(ctx context.Context, from, to Installable, platform *platform.Platform) ([]Machine, error) {
	return p.onOneDisk(ctx, from, to, platform, func(s *story) []func() error {
		return []func() error{
			func() error { return s.boots(ctx, boot{step: "before the update", slot: "A"}) },
			func() error { return s.cutOff(ctx, to) },
			func() error { return s.install(ctx, to) },
			func() error {
				return s.boots(ctx, boot{step: "after the update, whose health check fails", slot: "B", failing: healthCheck})
			},
			func() error { return s.boots(ctx, boot{step: "after the rollback", slot: "A"}) },
		}
	})
}

// Downgrade tells one story on one disk: a machine runs the new release, the old one is installed, and it boots, with its own
// tools, and stays.
func (p *Prover) Downgrade(ctx context.Context, from, to Installable, platform *platform.Platform) ([]Machine, error) {
	return p.onOneDisk(ctx, to, from, platform, func(s *story) []func() error {
		return []func() error{
			func() error { return s.boots(ctx, boot{step: "before the downgrade", slot: "A"}) },
			func() error { return s.install(ctx, from) },
			func() error { return s.boots(ctx, boot{step: "after the downgrade", slot: "B"}) },
			func() error { return s.boots(ctx, boot{step: "started once more", slot: "B"}) },
		}
	})
}

// onOneDisk tells a story step by step, of a machine whose slot A has one release while the other one is for slot B.
func (p *Prover) onOneDisk(
	ctx context.Context, a, b Installable, platform *platform.Platform, steps func(*story) []func() error,
) ([]Machine, error) {
	dir, err := os.MkdirTemp(p.Scratch, platform.ID.Value+".")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s := &story{Prover: p, dir: dir, platform: platform, releases: map[string]Installable{"A": a, "B": b}}
	if err := s.makeDisk(ctx, a); err != nil {
		return nil, err
	}
	for _, step := range steps(s) {
		if err := step(); err != nil {
			return s.machines, err
		}
	}
	return s.machines, nil
}

// story is what happens to one disk.
type story struct {
	*Prover
	dir      string
	platform *platform.Platform
	releases map[string]Installable // by slot
	machines []Machine
}

func (s *story) disk() string { return filepath.Join(s.dir, "disk.img") }

// makeDisk makes the disk of a machine that has run one release only.
func (s *story) makeDisk(ctx context.Context, r Installable) error {
	oem, err := vm.OEM(ctx, s.Tools, filepath.Join(s.dir, "oem.img"), OEMFiles(s.platform))
	if err != nil {
		return err
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
	return vm.MakeDisk(ctx, s.Tools, s.disk(), []vm.Partition{
		{Number: 1, Name: "EFI-SYSTEM", Type: disks.ESPType, Content: efi}, vm.UsrA(r.Slot.Usr.Path), empty, oem,
	})
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

// cutAfter ends a context when it has been asked as often whether it has ended. The installer asks before each part that it
// writes, so this cuts it off in the middle of the partition.
type cutAfter struct {
	context.Context
	left *atomic.Int64
}

func (c cutAfter) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return c.Context.Err()
}

// cutOff begins an installation and ends it while the partition is written.
func (s *story) cutOff(ctx context.Context, r Installable) error {
	left := &atomic.Int64{}
	left.Store(int64((disks.ESPSize + r.Slot.Usr.Size/2) / slot.Chunk))
	err := s.install(cutAfter{ctx, left}, r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m := Machine{Platform: s.platform.ID.Value, Step: "after an installation that was cut off"}
	half := Outcome{Assertion: "a slot that is written in part does not boot"}
	slots, _, readErr := slot.Read(s.disk())
	if readErr != nil {
		return readErr
	}
	if !errors.Is(err, context.Canceled) || slots[1].Boots() {
		half.Error = fmt.Sprintf("installing it says %v; it boots: %v", err, slots[1].Boots())
	}
	chosen, err := s.choose()
	if err != nil {
		return err
	}
	m.Outcomes = []Outcome{half, chosenSlot(chosen, "A")}
	return s.shown(m)
}

// shown adds what a machine has shown to the story.
func (s *story) shown(m Machine) error {
	m, err := s.Prover.shown(m, s.dir, fmt.Sprintf("%s-%d", s.platform.ID.Value, len(s.machines)))
	s.machines = append(s.machines, m)
	return err
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

func chosenSlot(chosen slot.Slot, want string) Outcome {
	o := Outcome{Assertion: "the boot loader chooses slot " + want}
	if err := differ("the slot", chosen.Name, want); err != nil {
		o.Error = err.Error()
	}
	return o
}

// boot is one boot of a story.
type boot struct {
	step    string       // what happened before
	slot    string       // that the boot loader is to choose
	failing string       // a unit that is to fail, if any
	foreign []vm.Foreign // images that are to be refused
}

// boots lets the boot loader choose, boots the slot with the kernel that the disk has for it, and asserts that the slot's
// release is all there. A machine without failed units marks its slot as one that boots.
func (s *story) boots(ctx context.Context, b boot) error {
	chosen, err := s.choose()
	if err != nil {
		return err
	}
	r := s.releases[chosen.Name]
	e, err := Expect(r.Manifest, s.platform)
	if err != nil { // a release may have lost a platform; its machines come up all the same
		e = ExpectNothing(r.Manifest, s.platform)
	}
	m := s.machine(r.Release, s.platform, s.dir, chosen.Partition.ID.String())
	if b.failing != "" {
		e.Failed = []string{b.failing}
		m.SMBIOS = append(m.SMBIOS, vm.Credential("systemd.extra-unit."+b.failing, healthCheckUnit))
		m.Arguments = append(slices.Clip(m.Arguments), "systemd.wants="+b.failing)
	}
	if m.Kernel, err = s.kernel(ctx, chosen); err != nil {
		return err
	}
	result := Machine{Platform: s.platform.ID.Value, Step: b.step, Images: e.Images, Outcomes: []Outcome{chosenSlot(chosen, b.slot)}}
	question := e.Question()
	question.Foreign = b.foreign
	report, err := vm.Boot(ctx, m, question)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		result.Error = err.Error()
	default:
		result.Seconds, result.Outcomes = report.Seconds, append(result.Outcomes, e.Check(report)...)
		if b.foreign != nil {
			result.Outcomes = append(result.Outcomes, e.refused(report.Foreign)...)
		}
	}
	if err := s.shown(result); err != nil {
		return err
	}
	if result.Error == "" && len(report.Failed) == 0 {
		return s.markGood(chosen.Name)
	}
	return nil
}

func (s *story) markGood(name string) error {
	d, err := slot.Open(s.disk())
	if err != nil {
		return err
	}
	return errors.Join(slot.MarkGood(d, name), d.Close())
}

// kernel copies the kernel that the boot loader would start for a slot from the disk.
func (s *story) kernel(ctx context.Context, chosen slot.Slot) (string, error) {
	f, err := os.Open(s.disk())
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	table, err := gpt.Read(f, info.Size())
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(table.Partitions(), func(p gpt.Partition) bool { return p.Number == 1 })
	system := esp.Partition{Tools: s.Tools, Disk: s.disk(), Offset: table.Partitions()[at].Offset()}
	to := filepath.Join(s.dir, "kernel")
	if err := os.RemoveAll(to); err != nil {
		return "", err
	}
	name := strings.TrimSuffix(esp.SlotA, "a") + strings.ToLower(chosen.Name)
	return to, system.Read(ctx, name, to)
}
