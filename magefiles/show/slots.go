package show

import (
	"errors"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/bases/slot"
)

// SlotFacts is what a slot of a disk is.
type SlotFacts struct {
	Slot       string     `json:"slot" doc:"A or B"`
	Number     int        `json:"partition" doc:"number"`
	Name       string     `json:"name" doc:"of the partition"`
	Size       size.Bytes `json:"bytes"`
	Priority   int        `json:"priority" doc:"0 to 15; the slot with the highest one boots"`
	Tries      int        `json:"tries" doc:"how often it may be tried before it is known to boot"`
	Successful bool       `json:"successful" doc:"it is known to boot"`
	Next       bool       `json:"next" doc:"it boots next"`
}

// Slots prints the slots of a disk and which one boots next.
func Slots(out Output, disk string) error {
	slots, damage, err := slot.Read(disk)
	if err != nil {
		return err
	}
	next, nextErr := slot.Next(slots)
	facts := []SlotFacts{}
	for _, s := range slots {
		boots := nextErr == nil && s.Partition.Number == next.Partition.Number
		facts = append(facts, SlotFacts{
			s.Name, s.Partition.Number, s.Partition.Name, size.Bytes(s.Partition.Size()), s.Priority, s.Tries, s.Successful, boots,
		})
	}
	err = out.answer(facts, func() error { return writeSlots(out, facts, damage) })
	return errors.Join(err, nextErr)
}

func writeSlots(out io.Writer, slots []SlotFacts, damage error) error {
	t := table.New(out, "SLOT", "PARTITION", "SIZE", "PRIORITY", "TRIES", "SUCCESSFUL", "")
	for _, s := range slots {
		note := ""
		if s.Next {
			note = "boots next"
		}
		t.Row(s.Slot, fmt.Sprintf("%d %s", s.Number, s.Name), s.Size, s.Priority, s.Tries, s.Successful, note)
	}
	if damage != nil {
		defer fmt.Fprintf(out, "%v; the next installation repairs it\n", damage)
	}
	return t.Flush()
}
