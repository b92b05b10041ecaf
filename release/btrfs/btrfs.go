// Package btrfs makes, changes and reads the btrfs file system of a Flatcar USR partition.
package btrfs

import (
	"encoding/hex"

	"github.com/flatcar/oem-sysext/oem/size"
)

// The geometry of a USR partition's image: a file system of 260094 blocks, and room for the dm-verity data behind it
// (flatcar/scripts, build_library/disk_layout.json: fs_blocks and blocks of USR-A).
const (
	FlatcarFilesystem size.Bytes = 260094 * blockSize
	FlatcarPartition  size.Bytes = 1 * size.GiB
)

// UUID is the identity of a file system.
type UUID [16]byte

// String prints the usual form with dashes.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
