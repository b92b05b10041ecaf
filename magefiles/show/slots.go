package show

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/bases/slot"
)

// Slots prints the slots of a disk, and which of them boots next.
func Slots(out io.Writer, disk string) error {
	slots, damage, err := slot.Read(disk)
	if err != nil {
		return err
	}
	next, nextErr := slot.Next(slots)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SLOT\tPARTITION\tSIZE\tPRIORITY\tTRIES\tSUCCESSFUL\t")
	for _, s := range slots {
		note := ""
		if nextErr == nil && s.Partition.Number == next.Partition.Number {
			note = "boots next"
		}
		fmt.Fprintf(table, "%s\t%d %s\t%v\t%d\t%d\t%v\t%s\n", s.Name, s.Partition.Number, s.Partition.Name, size.Bytes(s.Partition.Size()), s.Priority, s.Tries, s.Successful, note)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if damage != nil {
		fmt.Fprintf(out, "%v; the next change of a slot repairs it\n", damage)
	}
	return nextErr
}
