// Package superblock reads and writes the head of a btrfs file system.
//
// In goes an image, out comes what its superblock says, or the reverse. Refused is whatever is not a file system as Flatcar
// makes them: one device, mixed block groups, crc32c, 4 KiB blocks, complete within the file, cleanly unmounted.
package superblock

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// Where the superblock lies and how long it is (kernel include/uapi/linux/btrfs_tree.h, BTRFS_SUPER_INFO_OFFSET).
// The mirror is fs/btrfs/disk-io.h, btrfs_sb_offset(1); the next one would be at 256 GiB.
const (
	Offset       = 64 << 10
	MirrorOffset = 64 << 20
	Length       = 4096
)

// Fields of struct btrfs_super_block, as byte offsets.
const (
	superFSID            = 32
	superBytenr          = 48
	superFlags           = 56
	superMagic           = 64
	superGeneration      = 72
	superRoot            = 80
	superChunkRoot       = 88
	superLogRoot         = 96
	superLogRootTransID  = 104
	superTotalBytes      = 112
	superBytesUsed       = 120
	superNumDevices      = 136
	superSectorSize      = 144
	superNodeSize        = 148
	superSysArraySize    = 160
	superChunkGeneration = 164
	superCompatRO        = 180
	superIncompat        = 188
	superCsumType        = 196
	superRootLevel       = 198
	superChunkRootLevel  = 199
	superLogRootLevel    = 200
	superDevItem         = 201
	superLabel           = 299
	superCacheGeneration = 555
	superUUIDGeneration  = 563
	superMetadataUUID    = 571
	superSysArray        = 811
	superBackupRoots     = 2859
	superPadding         = 3531

	sysArrayLength = superBackupRoots - superSysArray
)

// Fields of struct btrfs_dev_item, as byte offsets.
const (
	devItemID         = 0
	devItemTotalBytes = 8
	devItemBytesUsed  = 16
	devItemGeneration = 44
	devItemUUID       = 66
	devItemFSID       = 82
	devItemLength     = 98
)

// Feature bits (btrfs_tree.h and include/uapi/linux/btrfs.h).
const (
	incompatMixedBackref  = 1 << 0
	incompatDefaultSubvol = 1 << 1
	incompatMixedGroups   = 1 << 2
	incompatCompressLZO   = 1 << 3
	incompatCompressZstd  = 1 << 4
	incompatBigMetadata   = 1 << 5
	incompatExtendedIref  = 1 << 6
	incompatSkinny        = 1 << 8
	incompatNoHoles       = 1 << 9
	incompatMetadataUUID  = 1 << 10 // Linux 5.0

	incompatWanted = incompatMixedBackref | incompatMixedGroups | incompatSkinny | incompatNoHoles
	incompatKnown  = incompatWanted | incompatDefaultSubvol | incompatCompressLZO | incompatCompressZstd |
		incompatBigMetadata | incompatExtendedIref | incompatMetadataUUID

	compatROFreeSpaceTree  = 1 << 0
	compatROFreeSpaceValid = 1 << 1
	compatROVerity         = 1 << 2
	compatROBlockGroupTree = 1 << 3
	compatROKnown          = compatROFreeSpaceTree | compatROFreeSpaceValid | compatROVerity | compatROBlockGroupTree
)

// minimumSize is less than the smallest file system that mkfs.btrfs makes, and more than what the layout here needs.
const minimumSize = 16 << 20

var magic = []byte("_BHRfS_M")

// UUID is the identity of a file system.
type UUID [16]byte

// DerivedUUID returns a UUID that follows from data and from what it is of (RFC 9562, version 8).
func DerivedUUID(of string, data []byte) UUID {
	sum := sha256.Sum256(append([]byte(of+"\x00"), data...))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return UUID(sum[:16])
}

// String prints the usual form with dashes.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Superblock is what the head of an image says about its file system.
type Superblock struct {
	UUID         UUID // by which the kernel and blkid tell file systems apart
	MetadataUUID UUID // in the tree blocks; another one than UUID if the feature METADATA_UUID is in use
	Label        string
	Generation   uint64     // counts the transactions that wrote it
	Size         size.Bytes // of the file system; the image file may be longer
	Used         size.Bytes // by data and by the trees

	raw []byte // Length bytes
}

// Read reads the superblock of an image and refuses, with what it wanted and what it got,
// whatever is not a file system as Flatcar makes them: one device, mixed block groups, crc32c, 4 KiB blocks,
// complete within the file, cleanly unmounted.
func Read(image string) (Superblock, error) {
	f, err := os.Open(image)
	if err != nil {
		return Superblock{}, err
	}
	defer f.Close()
	return ReadFile(f)
}

// ReadFile reads the superblock of an image that is open, as Read does.
func ReadFile(f *os.File) (Superblock, error) {
	info, err := f.Stat()
	if err != nil {
		return Superblock{}, err
	}
	raw := make([]byte, Length)
	if _, err := f.ReadAt(raw, Offset); err != nil {
		if errors.Is(err, io.EOF) {
			return Superblock{}, fmt.Errorf("%s: no btrfs: %v long; wanted at least %v", f.Name(),
				size.Bytes(info.Size()), size.Bytes(Offset+Length))
		}
		return Superblock{}, err
	}
	super, err := parse(raw, size.Bytes(info.Size()))
	if err != nil {
		return Superblock{}, fmt.Errorf("%s: no btrfs that can be used here: %w", f.Name(), err)
	}
	return super, nil
}

// parse checks a superblock from an image file of the given length. It reports all mistakes at once,
// except that without magic or with a wrong checksum the rest would be noise.
func parse(raw []byte, fileSize size.Bytes) (Superblock, error) {
	if got := raw[superMagic:][:len(magic)]; !bytes.Equal(got, magic) {
		return Superblock{}, fmt.Errorf("magic is %q; wanted %q", got, magic)
	}
	if got := ondisk.Uint16(raw, superCsumType); got != 0 {
		return Superblock{}, fmt.Errorf("checksum type is %d; wanted 0 (crc32c)", got)
	}
	if got, want := ondisk.Uint32(raw, 0), ondisk.BlockSum(raw); got != want {
		return Superblock{}, fmt.Errorf("checksum is %08x; wanted %08x", got, want)
	}
	if err := checkFields(raw, uint64(fileSize)); err != nil {
		return Superblock{}, err
	}
	return fromRaw(slices.Clone(raw)), nil
}

func fromRaw(raw []byte) Superblock {
	label, _, _ := bytes.Cut(raw[superLabel:superCacheGeneration], []byte{0})
	return Superblock{
		UUID:         UUID(raw[superFSID:]),
		MetadataUUID: metadataUUID(raw),
		Label:        string(label),
		Generation:   ondisk.Uint64(raw, superGeneration),
		Size:         size.Bytes(ondisk.Uint64(raw, superTotalBytes)),
		Used:         size.Bytes(ondisk.Uint64(raw, superBytesUsed)),
		raw:          raw,
	}
}

// metadataUUID is where the kernel looks for it (fs/btrfs/volumes.c, btrfs_sb_fsid_ptr).
func metadataUUID(raw []byte) UUID {
	if ondisk.Uint64(raw, superIncompat)&incompatMetadataUUID != 0 {
		return UUID(raw[superMetadataUUID:])
	}
	return UUID(raw[superFSID:])
}

// checkFields reports every field that has another value than Flatcar's file systems have.
func checkFields(raw []byte, fileSize uint64) error {
	var mistakes []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			mistakes = append(mistakes, fmt.Errorf(format, args...))
		}
	}
	equal := func(what string, got, wanted uint64) {
		want(got == wanted, "%s is %d; wanted %d", what, got, wanted)
	}
	equal("own address", ondisk.Uint64(raw, superBytenr), Offset)
	equal("flags field (errors, seed)", ondisk.Uint64(raw, superFlags), ondisk.Written)
	equal("sector size", uint64(ondisk.Uint32(raw, superSectorSize)), ondisk.BlockSize)
	equal("node size", uint64(ondisk.Uint32(raw, superNodeSize)), ondisk.BlockSize)
	equal("number of devices", ondisk.Uint64(raw, superNumDevices), 1)
	equal("device id", ondisk.Uint64(raw, superDevItem+devItemID), 1)
	equal("log tree's address (unless unmounted)", ondisk.Uint64(raw, superLogRoot), 0)

	total := ondisk.Uint64(raw, superTotalBytes)
	equal("device size", ondisk.Uint64(raw, superDevItem+devItemTotalBytes), total)
	want(total <= fileSize, "file system is %d bytes; the file holds %d", total, fileSize)
	want(total%ondisk.BlockSize == 0 && total >= minimumSize,
		"file system is %d bytes; wanted at least %d and whole blocks of %d", total, minimumSize, ondisk.BlockSize)
	used := ondisk.Uint64(raw, superBytesUsed)
	want(used <= total, "%d bytes are used; the file system has %d", used, total)

	incompat, compatRO := ondisk.Uint64(raw, superIncompat), ondisk.Uint64(raw, superCompatRO)
	want(incompat&incompatWanted == incompatWanted,
		"incompat features are %#x; wanted at least %#x (mixed groups, skinny metadata, no holes)", incompat, incompatWanted)
	want(incompat&^incompatKnown == 0, "incompat features are %#x; only %#x are known", incompat, incompatKnown)
	want(incompat&incompatMetadataUUID == 0 || metadataUUID(raw) != UUID{},
		"superblock byte %d: metadata UUID is zero; wanted the one in the tree blocks, for incompat features %#x", superMetadataUUID, incompat)
	deviceOf := UUID(raw[superDevItem+devItemFSID:])
	want(deviceOf == metadataUUID(raw), // as in fs/btrfs/disk-io.c, btrfs_validate_super
		"superblock byte %d: the device belongs to file system %v; wanted %v", superDevItem+devItemFSID, deviceOf, metadataUUID(raw))
	want(compatRO&^compatROKnown == 0, "compat-ro features are %#x; only %#x are known", compatRO, compatROKnown)

	array := ondisk.Uint32(raw, superSysArraySize)
	want(array <= sysArrayLength, "system chunks take %d bytes; wanted at most %d", array, sysArrayLength)
	level, chunkLevel := raw[superRootLevel], raw[superChunkRootLevel]
	want(level < ondisk.MaxLevels && chunkLevel < ondisk.MaxLevels, "tree levels are %d and %d; wanted less than %d", level, chunkLevel, ondisk.MaxLevels)
	return errors.Join(mistakes...)
}
