package plan

import (
	"fmt"
	"os"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/budget"
	"github.com/flatcar/oem-sysext/oem/image/pack"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/plan/early"
	"github.com/flatcar/oem-sysext/release/setup"
)

// sharedBudgets are the budgets that all embedded images share.
func (s *search) sharedBudgets() ([]budget.Budget, error) {
	flattened := s.empty.Free - s.flat.Free
	before := btrfs.FlatcarFilesystem - s.flat.Free + size.Bytes(s.early.grown)
	kernel, err := os.Stat(s.Base.Kernel)
	if err != nil {
		return nil, err
	}
	// Upper bound of the payload: the used bytes of the file system, plus dm-verity's data and the kernel.
	sent := before + s.Choice.Layout.Payload.Bytes - btrfs.FlatcarFilesystem + size.Bytes(kernel.Size())
	profile, layout := s.Choice.Profile, s.Choice.Layout
	return []budget.Budget{
		{Name: "images", Limit: profile.Images.Bytes, Used: flattened, Fixed: flattened},
		{Name: "usr", Limit: layout.Filesystem.Bytes - profile.Headroom.Bytes, Used: before, Fixed: before},
		{Name: "payload", Limit: layout.Payload.Bytes, Used: sent, Fixed: sent},
	}, nil
}

// otherBudgets are the budgets that packing does not change: the OEM partition, for the largest image; the room for kernel
// and initramfs; and the memory of a machine that boots from the network, which holds kernel, initramfs and /usr before
// anything runs. There /usr is a squashfs of about the same size as here.
// Initramfs images count in the last two: each machine loads one.
func (s *search) otherBudgets(whole []pack.Image) ([]budget.Budget, error) {
	layout := s.Choice.Layout
	boot, err := bootFiles(s.Base.Kernel, s.Base.Initrd)
	if err != nil {
		return nil, err
	}
	memory := boot + btrfs.FlatcarFilesystem - s.flat.Free
	budgets := []struct {
		budget.Budget
		takes string // name of the largest image or file
		size  size.Bytes
	}{
		{Budget: budget.Budget{Name: "OEM partition", Limit: layout.OEMPartition.Bytes}},
		{Budget: budget.Budget{Name: "kernel and initramfs", Limit: layout.Boot.Bytes, Used: boot, Fixed: boot}},
		{Budget: budget.Budget{Name: "memory for a network boot", Limit: layout.NetworkBoot.Bytes, Used: memory, Fixed: memory}},
	}
	budgets[0].takes, budgets[0].size = s.largest(whole)
	for n, suffix := range map[int]string{1: early.SystemdForm, 2: early.PXEForm} {
		file := early.Largest(s.early.made, suffix)
		budgets[n].takes, budgets[n].size = file.Name, file.Size
	}
	var all []budget.Budget
	for _, b := range budgets {
		b.Used += b.size
		if b.Left() < 0 {
			return nil, s.over(fmt.Errorf("%s has %v and needs %v, %d B too much: %v of the base and %v of %s; the limit is in %s",
				b.Name, b.Limit, b.Used, -b.Left(), b.Fixed, b.size, b.takes, setup.LayoutsFile))
		}
		all = append(all, b.Budget)
	}
	return all, nil
}

// bootFiles returns the size of kernel and initramfs. Without an initramfs file, the kernel contains it.
func bootFiles(kernel, initrd string) (all size.Bytes, err error) {
	for _, file := range []string{kernel, initrd} {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		all += size.Bytes(info.Size())
	}
	return all, nil
}

// largest returns the name and the size of the largest whole image.
func (s *search) largest(whole []pack.Image) (name string, n size.Bytes) {
	for i, image := range whole {
		if image.Size > n {
			name, n = s.staged[i].Platform.Image(), image.Size
		}
	}
	return name, n
}
