package flatcar

import (
	"context"
	"fmt"
	"os"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/esp"
	"github.com/flatcar/oem-sysext/release/format/gpt"
)

var (
	usrType = gpt.MustGUID(disks.UsrType)
	usrA    = gpt.MustGUID(disks.UsrAUUID)
	espType = gpt.MustGUID(disks.ESPType)
)

// Places are where a disk has what a release replaces, in bytes.
type Places struct {
	UsrA int64
	ESP  int64
}

// FindPlaces reads the partition table of a disk image. Both copies of it must be sound, since the boot loader may read either.
func FindPlaces(f *os.File) (Places, error) {
	info, err := f.Stat()
	if err != nil {
		return Places{}, err
	}
	table, err := gpt.Read(f, info.Size())
	if err != nil {
		return Places{}, err
	}
	if damage := table.Damage(); damage != nil {
		return Places{}, fmt.Errorf("one copy of the partition table is damaged: %w", damage)
	}
	var found []gpt.Partition
	for _, wanted := range []func(gpt.Partition) bool{
		func(p gpt.Partition) bool { return p.Type == usrType && p.ID == usrA },
		func(p gpt.Partition) bool { return p.Type == espType },
	} {
		for _, p := range table.Partitions() {
			if wanted(p) {
				found = append(found, p)
				break
			}
		}
	}
	if len(found) != 2 {
		return Places{}, fmt.Errorf("the disk lacks partitions; wanted USR-A (type %v, identifier %v) and EFI-SYSTEM (type %v)", usrType, usrA, espType)
	}
	if got := size.Bytes(found[0].Size()); got < btrfs.FlatcarPartition {
		return Places{}, fmt.Errorf("USR-A, at byte %d, has %d bytes; wanted %d or more", found[0].Offset(), got, btrfs.FlatcarPartition)
	}
	return Places{UsrA: found[0].Offset(), ESP: found[1].Offset()}, nil
}

// takeDisk keeps the disk image, its first slot and the kernel of that.
func (i *importer) takeDisk(ctx context.Context, f *os.File) error {
	places, err := FindPlaces(f)
	if err != nil {
		return err
	}
	if err := copyPart(f, places.UsrA, int64(btrfs.FlatcarPartition), i.path(partitionFile)); err != nil {
		return err
	}
	if err := i.keep(f, diskFile); err != nil {
		return err
	}
	system := esp.Partition{Tools: i.Tools, Disk: i.path(diskFile), Offset: places.ESP}
	if err := system.Read(ctx, esp.SlotA, i.path(kernelFile)); err != nil {
		return err
	}
	return i.unpackPartition(ctx)
}
