package ondisk

// Numbers and layouts of the on-disk format: kernel include/uapi/linux/btrfs_tree.h;
// https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html. Everything is little endian.

// Object ids: of trees, and of what has no tree of its own.
const (
	RootTree      = 1
	ExtentTree    = 2
	ChunkTree     = 3
	DeviceTree    = 4
	FSTree        = 5
	RootTreeDir   = 6
	CsumTree      = 7
	UUIDTree      = 9
	FreeSpaceTree = 10
	GroupTree     = 11

	DataRelocTree   = ^uint64(8)  // -9
	CsumObject      = ^uint64(9)  // -10
	FreeSpaceObject = ^uint64(10) // -11

	DeviceObject = 1
	FirstChunk   = 256
	FirstInode   = 256
	LastInode    = ^uint64(255)
)

// Item kinds.
const (
	InodeItem      = 1
	InodeRef       = 12
	InodeExtref    = 13
	XattrItem      = 24
	VerityDescItem = 36
	VerityMerkle   = 37
	DirItem        = 84
	DirIndex       = 96
	ExtentData     = 108
	ExtentCsum     = 128
	RootItem       = 132
	ExtentItem     = 168
	MetadataItem   = 169
	TreeBlockRef   = 176
	ExtentDataRef  = 178
	BlockGroupItem = 192
	DeviceExtent   = 204
	DeviceItem     = 216
	ChunkItem      = 228
)

// struct btrfs_header, struct btrfs_item and struct btrfs_key_ptr.
const (
	HeaderFSID       = 32
	HeaderAddress    = 48
	HeaderFlags      = 56
	HeaderChunkUUID  = 64
	HeaderGeneration = 80
	HeaderOwner      = 88
	HeaderCount      = 96
	HeaderLevel      = 100
	HeaderLength     = 101

	HeaderMixedBackref = 1 << 56 // backref revision 1, in the top byte of the flags

	ItemOffset = 17
	ItemSize   = 21
	ItemLength = 25

	PointerAddress    = 17
	PointerGeneration = 25
	PointerLength     = 33

	MaxPointers = (BlockSize - HeaderLength) / PointerLength
)

// struct btrfs_inode_item.
const (
	InodeGeneration = 0
	InodeTransID    = 8
	InodeSize       = 16
	InodeBytes      = 24
	InodeGroup      = 32
	InodeMode       = 52
	InodeFlags      = 64
	InodeSequence   = 72
	InodeAtime      = 112
	InodeCtime      = 124
	InodeMtime      = 136
	InodeOtime      = 148
	InodeLength     = 160

	FlagNoDataSum  = 1 << 0
	FlagNoDataCow  = 1 << 1
	FlagNoCompress = 1 << 3
	FlagPrealloc   = 1 << 4
	FlagCompress   = 1 << 11

	// What chattr sets: read-only, sync, immutable, append, nodump, noatime, dirsync; and that there is fs-verity data.
	KnownFlags = FlagNoDataSum | FlagNoDataCow | FlagNoCompress | FlagPrealloc | FlagCompress |
		1<<2 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<32
)

// struct btrfs_dir_item, also used for extended attributes.
const (
	DirTransID    = 17
	DirDataLength = 25
	DirNameLength = 27
	DirType       = 29
	DirLength     = 30

	TypeXattr = 8
)

// struct btrfs_file_extent_item.
const (
	FileGeneration  = 0
	FileRAMBytes    = 8
	FileCompression = 16
	FileEncryption  = 17
	FileEncoding    = 18
	FileType        = 20
	FileInlineData  = 21
	FileDiskAddress = 21
	FileDiskBytes   = 29
	FileOffset      = 37
	FileBytes       = 45
	FileLength      = 53

	TypeInline   = 0
	TypeRegular  = 1
	TypePrealloc = 2

	CompressNone = 0
)

// struct btrfs_root_item. It starts with an inode item.
const (
	RootGeneration   = 160
	RootAddress      = 176
	RootBytesUsed    = 192
	RootLastSnapshot = 200
	RootLevel        = 238
	RootGeneration2  = 239
	RootUUID         = 247
	RootCTransID     = 295
	RootCtime        = 327
	RootOtime        = 339
	RootLength       = 439
)

// struct btrfs_chunk with one struct btrfs_stripe.
const (
	ChunkSize       = 0
	ChunkOwner      = 8
	ChunkStripeLen  = 16
	ChunkType       = 24
	ChunkIOAlign    = 32
	ChunkIOWidth    = 36
	ChunkSectorSize = 40
	ChunkNumStripes = 44
	ChunkSubStripes = 46
	ChunkDevice     = 48
	ChunkPhysical   = 56
	ChunkDeviceUUID = 64
	ChunkLength     = 80

	GroupData     = 1 << 0
	GroupSystem   = 1 << 1
	GroupMetadata = 1 << 2
)

// KeyLength is the length of struct btrfs_disk_key.
const KeyLength = 17
