package extension

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/image/rung"
)

// inspect reads a file system's superblock. It refuses a file system that is longer than its place, which the programs that unpack
// it would not notice, and shapes that kernels do not mount; and returns the options that a kernel needs to mount it.
func inspect(part *io.SectionReader, head string) (options []string, err error) {
	switch {
	case strings.HasPrefix(head, squashfsMagic):
		return inspectSquashfs(part)
	case head[erofsStart:] == erofsMagic:
		return inspectErofs(part)
	}
	return nil, errors.New("has neither the magic of squashfs nor that of erofs; wanted one of these, or a disk with one of them in a root partition")
}

// squashfsSuper is the superblock of squashfs (fs/squashfs/squashfs_fs.h, struct squashfs_super_block), as far as it is looked at.
type squashfsSuper struct {
	Magic, Inodes, Time, BlockSize, Fragments uint32
	Compressor, BlockLog, Flags, IDs          uint16
	Major, Minor                              uint16
	Root, Length                              uint64 // Length is in bytes
	Tables                                    [6]uint64
}

const (
	squashfsHasOptions = 1 << 10 // flag: a metadata block with the compressor's options follows the superblock
	squashfsXZ         = 4
	squashfsMaxBlock   = size.MiB // SQUASHFS_FILE_MAX_SIZE
)

// squashfsCompressors are the names of compressors by their numbers. The kernel has never read LZMA, which is 2.
var squashfsCompressors = map[uint16]string{1: "gzip", 3: "lzo", squashfsXZ: "xz", 5: "lz4", 6: "zstd"}

// xzFilters are the names of filters of machine code, by the bit that they have in squashfs (squashfs-tools, xz_wrapper.h).
var xzFilters = []string{"x86", "powerpc", "ia64", "arm", "armthumb", "sparc", "arm64", "riscv"}

func inspectSquashfs(part *io.SectionReader) ([]string, error) {
	var s squashfsSuper
	if err := readAt(part, 0, &s); err != nil {
		return nil, err
	}
	compressor, known := squashfsCompressors[s.Compressor]
	switch {
	case s.Major != 4:
		return nil, fmt.Errorf("is squashfs %d.%d; wanted 4.0, which kernels mount", s.Major, s.Minor)
	case !known:
		return nil, fmt.Errorf("is compressed with squashfs compressor %d, which no kernel reads; wanted zlib, lzo, xz, lz4 or zstd", s.Compressor)
	case size.Bytes(s.BlockSize) > squashfsMaxBlock:
		return nil, fmt.Errorf("has blocks of %v; kernels mount %v at most", size.Bytes(s.BlockSize), squashfsMaxBlock)
	}
	if err := fitsInto(s.Length, part); err != nil {
		return nil, err
	}
	if err := s.checkRoot(); err != nil {
		return nil, err
	}
	filters, err := squashfsFilters(s, part)
	if err != nil {
		return nil, err
	}
	return rung.Options(rung.SquashFS, []string{compressor}, filters), nil
}

// checkRoot wants the root in the table of inodes. Programs other than kernels cut off its upper bits.
func (s *squashfsSuper) checkRoot() error {
	const inodes, directories, metadata = 2, 3, 8192 // SQUASHFS_METADATA_SIZE
	if block := s.Root >> 16; s.Tables[inodes] > s.Tables[directories] || block >= s.Tables[directories]-s.Tables[inodes] || s.Root&0xffff >= metadata {
		return fmt.Errorf("has its squashfs root at %#x, outside of its inodes", s.Root)
	}
	return nil
}

// squashfsFilters returns the filters that a file system's own options for xz name.
func squashfsFilters(s squashfsSuper, part *io.SectionReader) ([]string, error) {
	if s.Compressor != squashfsXZ || s.Flags&squashfsHasOptions == 0 {
		return nil, nil
	}
	var xz struct {
		Header              uint16
		Dictionary, Filters uint32
	}
	if err := readAt(part, int64(binary.Size(s)), &xz); err != nil {
		return nil, err
	}
	return named(xzFilters, xz.Filters), nil
}

// named returns the names of the bits that are set.
func named(names []string, bits uint32) (set []string) {
	for bit, name := range names {
		if bits>>bit&1 != 0 {
			set = append(set, name)
		}
	}
	return set
}

// erofsSuper is the superblock of erofs (fs/erofs/erofs_fs.h, struct erofs_super_block), as far as it is looked at.
type erofsSuper struct {
	Magic, Checksum, Compat uint32
	BlockBits, Slots        uint8
	Root                    uint16
	Inodes, Time            uint64
	Nanoseconds, Blocks     uint32
	Meta, Xattrs            uint32
	UUID, Name              [16]byte
	Incompat                uint32
	Compressors, Devices    uint16 // Compressors are bits where the feature erofsConfigured is there
}

// Features without which an erofs cannot be read (fs/erofs/erofs_fs.h, EROFS_FEATURE_INCOMPAT_…).
const (
	erofsCompressed = 1 << 0   // with lz4, unless the next one says something else
	erofsConfigured = 1 << 1   // compressors are listed
	erofsKnown      = 1<<7 - 1 // those that Linux 6.6 has, the oldest kernel of a release that is maintained
	erofsBlockBits  = 12       // 4 KiB, what every kernel mounts
)

// erofsCompressors are the names of compressors by their bits.
var erofsCompressors = []string{"lz4", "lzma", "deflate", "zstd"}

func inspectErofs(part *io.SectionReader) ([]string, error) {
	var s erofsSuper
	if err := readAt(part, erofsStart, &s); err != nil {
		return nil, err
	}
	switch {
	case s.BlockBits != erofsBlockBits:
		return nil, fmt.Errorf("has erofs blocks of 2^%d bytes; wanted 4096, which every kernel mounts (mkfs.erofs -b 4096)", s.BlockBits)
	case s.Incompat&^erofsKnown != 0:
		return nil, fmt.Errorf("has erofs features (%#x) that Linux 6.6 does not read; make it without them", s.Incompat&^erofsKnown)
	case s.Devices != 0:
		return nil, fmt.Errorf("has files on %d other devices; wanted all in one image", s.Devices)
	}
	if err := fitsInto(uint64(s.Blocks)<<erofsBlockBits, part); err != nil {
		return nil, err
	}
	compressors, err := s.compressors()
	if err != nil {
		return nil, err
	}
	return rung.Options(rung.EROFS, compressors, nil), nil
}

// compressors returns the names of what the file system is compressed with: lz4 unless it lists some.
func (s *erofsSuper) compressors() ([]string, error) {
	switch bits := s.Compressors; {
	case s.Incompat&erofsConfigured != 0 && bits>>len(erofsCompressors) != 0:
		return nil, fmt.Errorf("is compressed with erofs compressors %#x, of which kernels read lz4, lzma, deflate and zstd", bits)
	case s.Incompat&erofsConfigured != 0:
		return named(erofsCompressors, uint32(bits)|1), nil // the first one's support is what all others need
	case s.Incompat&erofsCompressed != 0:
		return erofsCompressors[:1], nil
	}
	return nil, nil
}

func readAt(part *io.SectionReader, offset int64, to any) error {
	if err := binary.Read(io.NewSectionReader(part, offset, part.Size()), binary.LittleEndian, to); err != nil {
		return fmt.Errorf("its superblock: %w", err)
	}
	return nil
}

// fitsInto refuses a file system that ends behind its partition or file.
func fitsInto(length uint64, part *io.SectionReader) error {
	if length > uint64(part.Size()) {
		return fmt.Errorf("its file system says to have %d bytes, and there are %d; it was cut, or its partition is too small", length, part.Size())
	}
	return nil
}
