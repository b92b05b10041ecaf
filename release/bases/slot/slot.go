// Package slot knows Flatcar's two slots on a disk: which one boots, and how a release gets into the other one.
//
// In: a disk image or a block device, and for Install a partition image and a kernel with their digests.
// Out: the same disk with a changed partition table, and the release in the slot that does not run.
//
// The rules are those of Flatcar's boot loader (gptprio in its GRUB) and of its updater (cgpt, flatcar-postinst,
// flatcar-setgoodroot). Each slot has a priority, a number of tries left and a mark of success in the attributes of its
// partition. Power may fail at any point of an installation: until its last write the disk boots what it booted before.
//
// Refused are disks without exactly the slots A and B, without one that boots, or whose other slot or EFI system
// partition is in use; partition images that are larger than the slot; and files that are not what their digests say.
package slot

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/gpt"
)

var (
	usrType = gpt.MustGUID(disks.UsrType)
	ids     = map[string]gpt.GUID{"A": gpt.MustGUID(disks.UsrAUUID), "B": gpt.MustGUID(disks.UsrBUUID)}
)

// Slot is one partition that may hold /usr.
type Slot struct {
	Name       string // A or B
	Partition  gpt.Partition
	Priority   int  // 0 to 15: the slot with the highest one boots, and one with 0 never does
	Tries      int  // 0 to 15: how often it may be tried before it is known to boot
	Successful bool // it is known to boot
}

// Attributes of the partitions, from Flatcar's gptprio.c and cgpt (gpt.h).
const (
	priorityShift = 48
	triesShift    = 52
	successShift  = 56
	fourBits      = 0xf
	allBits       = fourBits<<priorityShift | fourBits<<triesShift | 1<<successShift
)

// List returns the slots of a disk in the order of their partitions' numbers.
func List(table *gpt.Table) []Slot {
	var all []Slot
	for _, p := range table.Partitions() {
		if p.Type != usrType {
			continue
		}
		s := Slot{
			Name: "B", Partition: p,
			Priority:   int(p.Attributes >> priorityShift & fourBits),
			Tries:      int(p.Attributes >> triesShift & fourBits),
			Successful: p.Attributes>>successShift&1 == 1,
		}
		if p.ID == ids["A"] { // whatever else boots with the other kernel
			s.Name = "A"
		}
		all = append(all, s)
	}
	return all
}

// Boots tells whether the boot loader would try this slot if there were no other.
func (s Slot) Boots() bool { return s.Priority > 0 && (s.Tries > 0 || s.Successful) }

func (s Slot) attributes() uint64 {
	bits := uint64(s.Priority)<<priorityShift | uint64(s.Tries)<<triesShift
	if s.Successful {
		bits |= 1 << successShift
	}
	return s.Partition.Attributes&^allBits | bits
}

// errNoSlot is what the boot loader would stop with.
var errNoSlot = errors.New("no slot boots: none has a priority above 0 and either tries left or the mark of success")

// Next returns the slot that boots next: of those that boot the one with the highest priority, the first one on ties.
func Next(slots []Slot) (Slot, error) {
	best := Slot{}
	for _, s := range slots {
		if s.Boots() && s.Priority > best.Priority {
			best = s
		}
	}
	if best.Priority == 0 {
		return best, errNoSlot
	}
	return best, nil
}

// Choose does what the boot loader does: it returns the slot that boots, and takes one try from it if it has any.
func Choose(d *Disk) (Slot, error) {
	table, err := d.table()
	if err != nil {
		return Slot{}, err
	}
	slot, err := Next(List(table))
	if err != nil || slot.Tries == 0 {
		return slot, err
	}
	slot.Tries--
	return slot, apply(table, slot).Write(d.file)
}

// MarkGood does what a machine does that has come up: its slot is known to boot, and the first choice.
func MarkGood(d *Disk, name string) error {
	table, err := d.table()
	if err != nil {
		return err
	}
	slots := List(table)
	i := slices.IndexFunc(slots, func(s Slot) bool { return s.Name == name })
	if i < 0 {
		return fmt.Errorf("the disk has no slot %s", name)
	}
	slots[i].Tries, slots[i].Successful = 0, true
	return apply(table, prioritise(slots, i)...).Write(d.file)
}

// prioritise makes one slot the first choice. As cgpt prioritize does, it counts the others down from there
// in the order that they had, with ties as they were; those with priority 0 keep it.
func prioritise(slots []Slot, first int) []Slot {
	var levels []int // priorities of the others, the highest first
	for i, s := range slots {
		if i != first && s.Priority > 0 {
			levels = append(levels, s.Priority)
		}
	}
	slices.SortFunc(levels, func(a, b int) int { return cmp.Compare(b, a) })
	levels = slices.Compact(levels)
	changed := slices.Clone(slots)
	for i, s := range slots {
		if s.Priority > 0 {
			changed[i].Priority = len(levels) - slices.Index(levels, s.Priority)
		}
	}
	changed[first].Priority = len(levels) + 1
	return changed
}

func apply(table *gpt.Table, slots ...Slot) *gpt.Table {
	for _, s := range slots {
		table = table.WithAttributes(s.Partition.Number, s.attributes())
	}
	return table
}
