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

// Install installs a finished release into the inactive slot of a disk and returns that slot.
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

// Installable returns partition and kernel of a release, with their digests from its manifest.
func Installable(dir string) (slot.Release, error) {
	m, err := manifest.Read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return slot.Release{}, fmt.Errorf("no release: %w; run scripts/mage release", err)
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
