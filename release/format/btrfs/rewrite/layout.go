package rewrite

import (
	"cmp"
	"fmt"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// Numbers and layouts of the on-disk format: kernel include/uapi/linux/btrfs_tree.h;
// https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html. Everything is little endian.

// Object ids: of trees, and of what has no tree of its own.
const (
	rootTree      = 1
	extentTree    = 2
	chunkTree     = 3
	deviceTree    = 4
	fsTree        = 5
	rootTreeDir   = 6
	csumTree      = 7
	uuidTree      = 9
	freeSpaceTree = 10
	groupTree     = 11

	dataRelocTree   = ^uint64(8)  // -9
	csumObject      = ^uint64(9)  // -10
	freeSpaceObject = ^uint64(10) // -11

	deviceObject = 1
	firstChunk   = 256
	firstInode   = 256
	lastInode    = ^uint64(255)
)

// Item kinds.
const (
	inodeItem      = 1
	inodeRef       = 12
	inodeExtref    = 13
	xattrItem      = 24
	verityDescItem = 36
	verityMerkle   = 37
	dirItem        = 84
	dirIndex       = 96
	extentData     = 108
	extentCsum     = 128
	rootItem       = 132
	extentItem     = 168
	metadataItem   = 169
	treeBlockRef   = 176
	extentDataRef  = 178
	blockGroupItem = 192
	deviceExtent   = 204
	deviceItem     = 216
	chunkItem      = 228
)

// struct btrfs_header, struct btrfs_item and struct btrfs_key_ptr.
const (
	headerFSID       = 32
	headerAddress    = 48
	headerFlags      = 56
	headerChunkUUID  = 64
	headerGeneration = 80
	headerOwner      = 88
	headerCount      = 96
	headerLevel      = 100
	headerLength     = 101

	headerMixedBackref = 1 << 56 // backref revision 1, in the top byte of the flags

	itemOffset = 17
	itemSize   = 21
	itemLength = 25

	pointerAddress    = 17
	pointerGeneration = 25
	pointerLength     = 33

	maxPointers = (ondisk.BlockSize - headerLength) / pointerLength
)

// struct btrfs_inode_item.
const (
	inodeGeneration = 0
	inodeTransID    = 8
	inodeSize       = 16
	inodeBytes      = 24
	inodeGroup      = 32
	inodeMode       = 52
	inodeFlags      = 64
	inodeSequence   = 72
	inodeAtime      = 112
	inodeCtime      = 124
	inodeMtime      = 136
	inodeOtime      = 148
	inodeLength     = 160

	flagNoDataSum  = 1 << 0
	flagNoDataCow  = 1 << 1
	flagNoCompress = 1 << 3
	flagPrealloc   = 1 << 4
	flagCompress   = 1 << 11

	// What chattr sets: read-only, sync, immutable, append, nodump, noatime, dirsync; and that there is fs-verity data.
	knownFlags = flagNoDataSum | flagNoDataCow | flagNoCompress | flagPrealloc | flagCompress |
		1<<2 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<32
)

// struct btrfs_dir_item, also used for extended attributes.
const (
	dirTransID    = 17
	dirDataLength = 25
	dirNameLength = 27
	dirType       = 29
	dirLength     = 30

	typeXattr = 8
)

// struct btrfs_file_extent_item.
const (
	fileGeneration  = 0
	fileRAMBytes    = 8
	fileCompression = 16
	fileEncryption  = 17
	fileEncoding    = 18
	fileType        = 20
	fileInlineData  = 21
	fileDiskAddress = 21
	fileDiskBytes   = 29
	fileOffset      = 37
	fileBytes       = 45
	fileLength      = 53

	typeInline   = 0
	typeRegular  = 1
	typePrealloc = 2

	compressNone = 0
)

// struct btrfs_root_item. It starts with an inode item.
const (
	rootGeneration   = 160
	rootAddress      = 176
	rootBytesUsed    = 192
	rootLastSnapshot = 200
	rootLevel        = 238
	rootGeneration2  = 239
	rootUUID         = 247
	rootCTransID     = 295
	rootCtime        = 327
	rootOtime        = 339
	rootLength       = 439
)

// struct btrfs_chunk with one struct btrfs_stripe.
const (
	chunkSize       = 0
	chunkOwner      = 8
	chunkStripeLen  = 16
	chunkType       = 24
	chunkIOAlign    = 32
	chunkIOWidth    = 36
	chunkSectorSize = 40
	chunkNumStripes = 44
	chunkSubStripes = 46
	chunkDevice     = 48
	chunkPhysical   = 56
	chunkDeviceUUID = 64
	chunkLength     = 80

	groupData     = 1 << 0
	groupSystem   = 1 << 1
	groupMetadata = 1 << 2
)

const keyLength = 17

// key is where an item is in its tree.
type key struct {
	object uint64
	kind   uint8
	offset uint64
}

func (k key) compare(other key) int {
	return cmp.Or(cmp.Compare(k.object, other.object), cmp.Compare(k.kind, other.kind), cmp.Compare(k.offset, other.offset))
}

func (k key) String() string { return fmt.Sprintf("(%d %d %d)", int64(k.object), k.kind, k.offset) }

func parseKey(b []byte) key { return key{ondisk.Uint64(b, 0), b[8], ondisk.Uint64(b, 9)} }

func (k key) put(b []byte) {
	ondisk.PutUint64(b, 0, k.object)
	b[8] = k.kind
	ondisk.PutUint64(b, 9, k.offset)
}

// item is a leaf of a tree.
type item struct {
	key  key
	data []byte
}
