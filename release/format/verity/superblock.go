package verity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// superblockSize is the encoded size; the rest of the superblock's block belongs to nobody.
const superblockSize = 512

// superblock is what the hash area begins with, little endian: struct verity_sb of cryptsetup's lib/verity/verity.c.
type superblock struct {
	Signature     [8]byte   // byte 0
	Version       uint32    // byte 8
	HashType      uint32    // byte 12: 1; 0 is an old format of Chrome OS
	UUID          [16]byte  // byte 16: in the order in which it is printed
	HashName      [32]byte  // byte 32
	DataBlockSize uint32    // byte 64
	HashBlockSize uint32    // byte 68
	DataBlocks    uint64    // byte 72
	SaltSize      uint16    // byte 80
	_             [6]byte   // byte 82
	Salt          [256]byte // byte 88
	_             [168]byte // byte 344
}

// encode expects checked parameters.
func (p Params) encode() []byte {
	sb := superblock{
		Signature:     [8]byte{'v', 'e', 'r', 'i', 't', 'y'},
		Version:       1,
		HashType:      1,
		UUID:          p.UUID,
		HashName:      [32]byte{'s', 'h', 'a', '2', '5', '6'},
		DataBlockSize: BlockSize,
		HashBlockSize: BlockSize,
		DataBlocks:    p.DataBlocks,
		SaltSize:      uint16(len(p.Salt)),
	}
	copy(sb.Salt[:], p.Salt)
	var encoded bytes.Buffer
	if err := binary.Write(&encoded, binary.LittleEndian, sb); err != nil {
		panic(err) // not for a struct of fixed size
	}
	return encoded.Bytes()
}

// ParseSuperblock reads the superblock in the first 512 bytes of a hash area.
//
// It refuses every other shape than the package's own, and padding that is not zero, with the byte and the field
// of each mistake. veritysetup reads past such padding and writes none.
func ParseSuperblock(encoded []byte) (Params, error) {
	if len(encoded) < superblockSize {
		return Params{}, fmt.Errorf("superblock has %d B; wanted %d B", len(encoded), superblockSize)
	}
	encoded = encoded[:superblockSize]
	var sb superblock
	if _, err := binary.Decode(encoded, binary.LittleEndian, &sb); err != nil {
		return Params{}, fmt.Errorf("superblock: %w", err)
	}
	if err := sb.check(); err != nil {
		return Params{}, err
	}
	p := Params{DataBlocks: sb.DataBlocks, Salt: bytes.Clone(sb.Salt[:sb.SaltSize]), UUID: sb.UUID}
	for i, want := range p.encode() {
		if encoded[i] != want {
			return Params{}, fmt.Errorf("superblock byte %d: padding is 0x%02x; wanted 0", i, encoded[i])
		}
	}
	return p, nil
}

// check finds every field that has a value of its own kind but not a wanted one.
func (sb superblock) check() error {
	if signature := string(sb.Signature[:]); signature != "verity\x00\x00" {
		return fmt.Errorf("superblock byte 0: signature is %q; wanted %q", signature, "verity\x00\x00")
	}
	name, _, _ := bytes.Cut(sb.HashName[:], []byte{0})
	var wrong []error
	for _, field := range []struct {
		offset    int
		name      string
		ok        bool
		got, want any
	}{
		{8, "version", sb.Version == 1, sb.Version, 1},
		{12, "hash type", sb.HashType == 1, sb.HashType, 1},
		{32, "hash name", string(name) == "sha256", fmt.Sprintf("%q", name), `"sha256"`},
		{64, "data block size", sb.DataBlockSize == BlockSize, sb.DataBlockSize, BlockSize},
		{68, "hash block size", sb.HashBlockSize == BlockSize, sb.HashBlockSize, BlockSize},
		{72, "number of data blocks", 0 < sb.DataBlocks && sb.DataBlocks <= maxDataBlocks, sb.DataBlocks,
			fmt.Sprintf("1 to %d", uint64(maxDataBlocks))},
		{80, "salt size in bytes", sb.SaltSize <= maxSaltSize, sb.SaltSize, "at most 256"},
	} {
		if !field.ok {
			wrong = append(wrong, fmt.Errorf("superblock byte %d: %s is %v; wanted %v",
				field.offset, field.name, field.got, field.want))
		}
	}
	return errors.Join(wrong...)
}
