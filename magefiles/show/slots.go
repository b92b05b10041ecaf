package show

import (
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/release/bases/slot"
)

// Slots prints the slots of a disk and which one boots next.
func Slots(out io.Writer, disk string) error {
	slots, damage, err := slot.Read(disk)
	if err != nil {
		return err
	}
	next, nextErr := slot.Next(slots)
	t := table.New(out, "SLOT", "PARTITION", "SIZE", "PRIORITY", "TRIES", "SUCCESSFUL", "")
	for _, s := range slots {
		note := ""
		if nextErr == nil && s.Partition.Number == next.Partition.Number {
			note = "boots next"
		}
		t.Row(s.Name, fmt.Sprintf("%d %s", s.Partition.Number, s.Partition.Name), size.Bytes(s.Partition.Size()), s.Priority, s.Tries, s.Successful, note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if damage != nil {
		fmt.Fprintf(out, "%v; the next installation repairs it\n", damage)
	}
	return nextErr
}
