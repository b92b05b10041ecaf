package ship

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Install puts a release, which is there already, into the slot of a disk that does not run. It returns that slot.
func Install(ctx context.Context, o setup.Options, disk string) (slot.Slot, error) {
	r, err := Installable(o.Dir())
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

func install(ctx context.Context, o setup.Options, d *slot.Disk, r slot.Release) (slot.Slot, error) {
	bench, err := setup.Open(ctx, o)
	if err != nil {
		return slot.Slot{}, err
	}
	defer bench.Close()
	return slot.Installer{Tools: bench.Tools, Scratch: bench.Scratch}.Install(ctx, d, r)
}

// Installable finds partition and kernel of a release, and what they must be, in its manifest.
func Installable(dir string) (slot.Release, error) {
	m, err := manifest.Read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return slot.Release{}, fmt.Errorf("there is no release yet: %w; scripts/mage release makes it", err)
	}
	if err != nil {
		return slot.Release{}, err
	}
	var r slot.Release
	for name, to := range map[string]*slot.File{manifest.PartitionFile: &r.Usr, manifest.KernelFile: &r.Kernel} {
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
