package btrfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Where the superblock lies and how long it is (kernel include/uapi/linux/btrfs_tree.h, BTRFS_SUPER_INFO_OFFSET).
// The mirror is fs/btrfs/disk-io.h, btrfs_sb_offset(1); the next one would be at 256 GiB.
const (
	superOffset       = 64 << 10
	superMirrorOffset = 64 << 20
	superLength       = 4096
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

	incompatWanted = incompatMixedBackref | incompatMixedGroups | incompatSkinny | incompatNoHoles
	incompatKnown  = incompatWanted | incompatDefaultSubvol | incompatCompressLZO | incompatCompressZstd |
		incompatBigMetadata | incompatExtendedIref

	compatROFreeSpaceTree  = 1 << 0
	compatROFreeSpaceValid = 1 << 1
	compatROVerity         = 1 << 2
	compatROBlockGroupTree = 1 << 3
	compatROKnown          = compatROFreeSpaceTree | compatROFreeSpaceValid | compatROVerity | compatROBlockGroupTree
)

// blockSize is the size of a data block and of a tree block. With mixed block groups the two are the same.
const blockSize = 4096

// minimumSize is less than the smallest file system that mkfs.btrfs makes, and more than what the layout here needs.
const minimumSize = 16 << 20

var (
	magic      = []byte("_BHRfS_M")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Superblock is what the head of an image says about its file system.
type Superblock struct {
	UUID       UUID
	Label      string
	Generation uint64     // counts the transactions that wrote it
	Size       size.Bytes // of the file system; the image file may be longer
	Used       size.Bytes // by data and by the trees

	raw []byte // superLength bytes
}

// ReadSuperblock reads the superblock of an image and refuses, with what it wanted and what it got,
// whatever is not a file system as Flatcar makes them: one device, mixed block groups, crc32c, 4 KiB blocks,
// complete within the file, cleanly unmounted.
func ReadSuperblock(image string) (Superblock, error) {
	f, err := os.Open(image)
	if err != nil {
		return Superblock{}, err
	}
	defer f.Close()
	return readSuperblock(f)
}

func readSuperblock(f *os.File) (Superblock, error) {
	info, err := f.Stat()
	if err != nil {
		return Superblock{}, err
	}
	raw := make([]byte, superLength)
	if _, err := f.ReadAt(raw, superOffset); err != nil {
		if errors.Is(err, io.EOF) {
			return Superblock{}, fmt.Errorf("%s: no btrfs: %v long; wanted at least %v", f.Name(),
				size.Bytes(info.Size()), size.Bytes(superOffset+superLength))
		}
		return Superblock{}, err
	}
	super, err := parseSuperblock(raw, size.Bytes(info.Size()))
	if err != nil {
		return Superblock{}, fmt.Errorf("%s: no btrfs that can be used here: %w", f.Name(), err)
	}
	return super, nil
}

// parseSuperblock checks a superblock from an image file of the given length. It reports all mistakes at once,
// except that without magic or with a wrong checksum the rest would be noise.
func parseSuperblock(raw []byte, fileSize size.Bytes) (Superblock, error) {
	if got := raw[superMagic:][:len(magic)]; !bytes.Equal(got, magic) {
		return Superblock{}, fmt.Errorf("magic is %q; wanted %q", got, magic)
	}
	if got := field16(raw, superCsumType); got != 0 {
		return Superblock{}, fmt.Errorf("checksum type is %d; wanted 0 (crc32c)", got)
	}
	if got, want := field32(raw, 0), blockSum(raw); got != want {
		return Superblock{}, fmt.Errorf("checksum is %08x; wanted %08x", got, want)
	}
	if err := checkFields(raw, uint64(fileSize)); err != nil {
		return Superblock{}, err
	}
	label, _, _ := bytes.Cut(raw[superLabel:superCacheGeneration], []byte{0})
	return Superblock{
		UUID:       UUID(raw[superFSID:]),
		Label:      string(label),
		Generation: field64(raw, superGeneration),
		Size:       size.Bytes(field64(raw, superTotalBytes)),
		Used:       size.Bytes(field64(raw, superBytesUsed)),
		raw:        slices.Clone(raw),
	}, nil
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
	equal("own address", field64(raw, superBytenr), superOffset)
	equal("flags field (errors, seed)", field64(raw, superFlags), headerWritten)
	equal("sector size", uint64(field32(raw, superSectorSize)), blockSize)
	equal("node size", uint64(field32(raw, superNodeSize)), blockSize)
	equal("number of devices", field64(raw, superNumDevices), 1)
	equal("device id", field64(raw, superDevItem+devItemID), 1)
	equal("log tree's address (unless unmounted)", field64(raw, superLogRoot), 0)

	total := field64(raw, superTotalBytes)
	equal("device size", field64(raw, superDevItem+devItemTotalBytes), total)
	want(total <= fileSize, "file system is %d bytes; the file holds %d", total, fileSize)
	want(total%blockSize == 0 && total >= minimumSize,
		"file system is %d bytes; wanted at least %d and whole blocks of %d", total, minimumSize, blockSize)
	used := field64(raw, superBytesUsed)
	want(used <= total, "%d bytes are used; the file system has %d", used, total)

	incompat, compatRO := field64(raw, superIncompat), field64(raw, superCompatRO)
	want(incompat&incompatWanted == incompatWanted,
		"incompat features are %#x; wanted at least %#x (mixed groups, skinny metadata, no holes)", incompat, incompatWanted)
	want(incompat&^incompatKnown == 0, "incompat features are %#x; only %#x are known", incompat, incompatKnown)
	want(compatRO&^compatROKnown == 0, "compat-ro features are %#x; only %#x are known", compatRO, compatROKnown)

	array := field32(raw, superSysArraySize)
	want(array <= sysArrayLength, "system chunks take %d bytes; wanted at most %d", array, sysArrayLength)
	level, chunkLevel := raw[superRootLevel], raw[superChunkRootLevel]
	want(level < maxLevels && chunkLevel < maxLevels, "tree levels are %d and %d; wanted less than %d", level, chunkLevel, maxLevels)
	return errors.Join(mistakes...)
}

// blockSum is the checksum of a superblock or tree block: crc32c of all that follows the 32 bytes kept for it.
func blockSum(block []byte) uint32 { return crc32.Checksum(block[32:], castagnoli) }

func field16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func field32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
func field64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }

func setField32(b []byte, at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
func setField64(b []byte, at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
