package btrfs

import (
	"errors"
	"os"

	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

// SetUUID gives the file system in an image another UUID, in place. Only the superblock and its mirror change.
func SetUUID(image string, id UUID) error {
	return changeSuper(image, func(s Superblock) Superblock { return s.WithUUID(id) })
}

// Superblocks returns where SetUUID writes a block, in bytes.
func Superblocks() []int64 { return []int64{superblock.Offset, superblock.MirrorOffset} }

// ResetUUID undoes SetUUID: the UUID is again the one in the tree blocks.
func ResetUUID(image string) error {
	return changeSuper(image, func(s Superblock) Superblock { return s.WithUUID(s.MetadataUUID) })
}

func changeSuper(image string, change func(Superblock) Superblock) error {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	super, err := superblock.ReadFile(f)
	if err == nil {
		err = change(super).Write(f)
	}
	return errors.Join(err, f.Close())
}
