package story

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/prove/boot"
	"github.com/flatcar/oem-sysext/release/prove/proof"
	"github.com/flatcar/oem-sysext/release/prove/vm"
)

// healthCheck is a unit that fails, as a check does that finds a new release wanting. A machine with a failed unit
// does not mark its slot as one that boots.
const (
	healthCheck     = "health-check.service"
	healthCheckUnit = "[Unit]\nBefore=multi-user.target\n[Service]\nType=oneshot\nExecStart=/bin/false\n"
)

// start is one boot of a story.
type start struct {
	step    string            // what happened before
	slot    string            // that the boot loader is to choose
	failing string            // a unit that is to fail, if any
	foreign []vm.Foreign      // images that are to be refused
	updates bool              // what an update runs is run, in this slot, which nobody chooses, from the other one
	expect  *boot.Expectation // if it is not what the slot's release promises
}

// boots lets the boot loader choose, boots the slot with the kernel that the disk has for it, and asserts that the slot's
// release is all there. A machine without failed units marks its slot as one that boots.
func (s *story) boots(ctx context.Context, b start) error {
	choose := s.choose
	if b.updates {
		choose = func() (slot.Slot, error) { return s.find(b.slot) }
	}
	chosen, err := choose()
	if err != nil {
		return err
	}
	r := s.releases[chosen.Name]
	e, err := boot.Expect(r.Manifest, s.platform)
	if err != nil { // a release may have lost a platform; its machines come up all the same
		e = boot.ExpectNothing(r.Manifest, s.platform)
	}
	if b.expect != nil {
		e = *b.expect
	}
	m := s.Machine(r.Release, s.platform, s.dir, chosen.Partition.ID.String())
	m.Arguments, m.Keep, m.Config = append(m.Arguments, s.arguments...), s.arguments != nil, s.config
	if b.failing != "" {
		e.Failed = []string{b.failing}
		m.SMBIOS = append(m.SMBIOS, vm.Credential("systemd.extra-unit."+b.failing, healthCheckUnit))
		m.Arguments = append(slices.Clip(m.Arguments), "systemd.wants="+b.failing)
	}
	if m.Kernel, err = s.kernel(ctx, chosen); err != nil {
		return err
	}
	result := proof.Machine{Platform: s.platform.ID.Value, Step: b.step, Images: e.Images}
	if !b.updates {
		result.Outcomes = []proof.Outcome{chosenSlot(chosen, b.slot)}
	}
	question := e.Question()
	question.Foreign, question.Update = b.foreign, b.updates
	report, err := vm.Boot(ctx, m, question)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		result.Error = err.Error()
	default:
		result.Seconds, result.Outcomes = report.Seconds, append(result.Outcomes, e.Check(report)...)
		if b.expect != nil {
			result.Outcomes = append(result.Outcomes, classicOutcomes(report)...)
		}
		if b.foreign != nil {
			result.Outcomes = append(result.Outcomes, refused(e, report.Foreign)...)
		}
	}
	if err := s.shown(result); err != nil {
		return err
	}
	if result.Error != "" {
		return nil
	}
	s.sayBooted(chosen, report)
	if len(report.Failed) == 0 && !b.updates {
		return s.markGood(chosen.Name)
	}
	return nil
}

// sayBooted says what a machine has shown that is to be seen.
func (s *story) sayBooted(chosen slot.Slot, r vm.Report) {
	s.say("   It runs %s from slot %s. Merged: %s.", r.OSRelease["VERSION_ID"], chosen.Name, strings.Join(r.Merged, ", "))
	for _, unit := range slices.Sorted(maps.Keys(r.Units)) {
		s.say("   %s is %s.", unit, r.Units[unit])
	}
	if len(r.Failed) == 0 {
		s.say("   All is well: slot %s is marked as good.", chosen.Name)
	} else {
		s.say("   Failed: %s. Slot %s is not marked as good.", strings.Join(r.Failed, ", "), chosen.Name)
	}
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
