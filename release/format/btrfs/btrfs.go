// Package btrfs makes, changes and reads the btrfs file system of a Flatcar USR partition.
//
// The kernel writes it, mounted from a scratch copy: it is the authority on what a file system is. But where the kernel
// puts things, how it cuts and compresses files, and what it takes from clocks, counters and dice differs from run to run
// and from kernel to kernel. So the result is written anew, in a form that follows from the files alone:
//
//   - Data comes first, in the order of the file tree, each extent in the first gap that has room, then the trees,
//     with full leaves. What is not in use is a hole, so nothing that was deleted is left.
//   - An extent that the image had before keeps its bytes. Files that were written to are cut into units of 128 KiB
//     and compressed here, with zstd, where that saves a block.
//   - All inodes are compressed as the top directory says: its property is on all files and directories.
//   - There is one system chunk and one mixed chunk up to the end.
//   - Modification times end at the epoch, and the other times of a file are the same as that one.
//     The top subvolume's are the epoch.
//   - Generations are 1. UUIDs other than the file system's are derived from the one in its tree blocks.
//   - Trees that serve writers only are left out: free space, UUIDs, backup roots. The kernel makes them again
//     when it mounts for writing.
//
// What was written is read and checked for this form before it is kept.
//
// The same image, epoch and changes therefore give the same bytes, and a change that does nothing gives the image again.
//
// What stays up to the caller and the kernel: numbers of inodes and of directory entries follow the order in which things
// are created, and they are not used again, so replacing a file in an image that has it gives another image than adding it
// to one that has not. A range of a file that was never written is a hole, where it covers whole units. And the access control
// lists that a new file inherits are what the kernel makes of them.
//
// A file system can get another UUID than the one in its tree blocks (SetUUID). Only the superblock and its mirror say it
// (METADATA_UUID, Linux 5.0), so the blocks of two releases with one base stay alike.
//
// Refused are images whose superblock another system than Flatcar's build writes (package superblock), and what the normal
// form has no place for (package rewrite).
package btrfs

import (
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

// The geometry of a USR partition's image: a file system of 260094 blocks, and room for the dm-verity data behind it
// (flatcar/scripts, build_library/disk_layout.json: fs_blocks and blocks of USR-A).
const (
	FlatcarFilesystem size.Bytes = 260094 * ondisk.BlockSize
	FlatcarPartition  size.Bytes = 1 * size.GiB
)

// UUID is the identity of a file system.
type UUID = superblock.UUID

// DerivedUUID returns a UUID that follows from data and from what it is of.
func DerivedUUID(of string, data []byte) UUID { return superblock.DerivedUUID(of, data) }

// Superblock is what the head of an image says about its file system.
type Superblock = superblock.Superblock

// ReadSuperblock reads the superblock of an image, and refuses what is not a file system as Flatcar makes them.
func ReadSuperblock(image string) (Superblock, error) { return superblock.Read(image) }
