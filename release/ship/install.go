package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"text/tabwriter"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// Install puts a release, which is there already, into the slot of a disk that does not run. It returns that slot.
func Install(ctx context.Context, o Options, disk string) (slot.Slot, error) {
	r, err := installable(o.Dir())
	if err != nil {
		return slot.Slot{}, err
	}
	d, err := slot.Open(disk)
	if err != nil {
		return slot.Slot{}, err
	}
	installed, err := install(ctx, o, d, r)
	return installed, errors.Join(err, d.Close())
}

func install(ctx context.Context, o Options, d *slot.Disk, r slot.Release) (slot.Slot, error) {
	w, err := openCached(ctx, o)
	if err != nil {
		return slot.Slot{}, err
	}
	defer w.close()
	if err := w.openTools(ctx); err != nil {
		return slot.Slot{}, err
	}
	return slot.Installer{Tools: w.tools, Scratch: w.scratch.Dir}.Install(ctx, d, r)
}

// installable finds partition and kernel of a release, and what they must be, in its manifest.
func installable(dir string) (slot.Release, error) {
	m, err := manifest.Read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return slot.Release{}, fmt.Errorf("there is no release yet: %w; scripts/mage release makes it", err)
	}
	if err != nil {
		return slot.Release{}, err
	}
	var r slot.Release
	for name, to := range map[string]*slot.File{partitionFile: &r.Usr, kernelFile: &r.Kernel} {
		for _, f := range m.Files {
			if f.Name == name {
				*to = slot.File{Path: filepath.Join(dir, name), Size: f.Size, SHA256: f.SHA256}
			}
		}
		if to.Path == "" {
			return slot.Release{}, fmt.Errorf("the release in %s has no %s", dir, name)
		}
	}
	return r, nil
}

// PrintSlots prints the slots of a disk, and which of them boots next.
func PrintSlots(disk string, out io.Writer) error {
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
