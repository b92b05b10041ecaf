package rewrite

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// What new files inherit of how they are to be compressed is not reliable. A kernel gives a new file the property of its directory
// only if it can reserve the room for it at once (fs/btrfs/props.c, inherit_props), and marks files that it could not compress.
// So there is one rule: all inodes are as the top directory is. They have its flag, and files and directories have its property.
// Files that were made not to be copied on write have neither; the kernel excludes the two from each other.

// compressionProperty is the attribute that has the property.
const compressionProperty = "btrfs.compression"

// compression is what the top directory says about compression.
type compression struct {
	property []byte // nil for none
	flag     uint64
}

// compressionOf reads the property from the items of the top directory.
func compressionOf(items []item) compression {
	for _, it := range items {
		if it.key.kind != ondisk.XattrItem {
			continue
		}
		for entry := range entries(it.data) {
			if !isCompression(entry) {
				continue
			}
			value := slices.Clone(entry[ondisk.DirLength+len(compressionProperty):])
			if string(value) == "none" || string(value) == "no" {
				return compression{value, ondisk.FlagNoCompress}
			}
			return compression{value, ondisk.FlagCompress}
		}
	}
	return compression{}
}

// of is what an inode is to have.
func (c compression) of(inode []byte) compression {
	if ondisk.Uint64(inode, ondisk.InodeFlags)&ondisk.FlagNoDataCow != 0 {
		return compression{}
	}
	if kind := ondisk.Uint32(inode, ondisk.InodeMode) & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return compression{flag: c.flag}
	}
	return c
}

// set gives an inode what it is to have, and returns its items in order.
func (c compression) set(items []item) []item {
	inode := items[0].data
	c = c.of(inode)
	ondisk.PutUint64(inode, ondisk.InodeFlags, ondisk.Uint64(inode, ondisk.InodeFlags)&^(ondisk.FlagCompress|ondisk.FlagNoCompress)|c.flag)
	var result []item
	own := item{key: key{items[0].key.object, ondisk.XattrItem, uint64(nameHash(compressionProperty))}}
	for _, it := range items {
		if it.key != own.key {
			result = append(result, it)
			continue
		}
		for entry := range entries(it.data) {
			if !isCompression(entry) {
				own.data = append(own.data, entry...) // another name with this hash
			}
		}
	}
	if c.property != nil {
		own.data = append(own.data, compressionEntry(c.property)...)
	}
	if own.data == nil {
		return result
	}
	at, _ := slices.BinarySearchFunc(result, own.key, func(it item, k key) int { return it.key.compare(k) })
	return slices.Insert(result, at, own)
}

// compressionEntry is the property as an attribute.
func compressionEntry(value []byte) []byte {
	entry := make([]byte, ondisk.DirLength, ondisk.DirLength+len(compressionProperty)+len(value))
	ondisk.PutUint64(entry, ondisk.DirTransID, generation)
	binary.LittleEndian.PutUint16(entry[ondisk.DirDataLength:], uint16(len(value)))
	binary.LittleEndian.PutUint16(entry[ondisk.DirNameLength:], uint16(len(compressionProperty)))
	entry[ondisk.DirType] = ondisk.TypeXattr
	return append(append(entry, compressionProperty...), value...)
}

func isCompression(entry []byte) bool {
	return int(ondisk.Uint16(entry, ondisk.DirNameLength)) == len(compressionProperty) &&
		string(entry[ondisk.DirLength:][:len(compressionProperty)]) == compressionProperty
}

// nameHash orders attributes (kernel fs/btrfs/dir-item.h, btrfs_name_hash).
func nameHash(name string) uint32 { return ^crc32.Update(1, ondisk.Castagnoli, []byte(name)) }
