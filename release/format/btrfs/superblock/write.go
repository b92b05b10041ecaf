package superblock

import (
	"io"
	"slices"

	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

// Pointer says where the root of a tree is.
type Pointer struct {
	Address uint64
	Level   uint8
}

// Root is where the tree of trees is.
func (s Superblock) Root() Pointer {
	return Pointer{ondisk.Uint64(s.raw, superRoot), s.raw[superRootLevel]}
}

// Chunks is where the tree of chunks is.
func (s Superblock) Chunks() Pointer {
	return Pointer{ondisk.Uint64(s.raw, superChunkRoot), s.raw[superChunkRootLevel]}
}

// SystemChunks are the keys and items of the few chunks that hold the tree of chunks.
func (s Superblock) SystemChunks() []byte {
	return s.raw[superSysArray:][:ondisk.Uint32(s.raw, superSysArraySize)]
}

// Device returns the device item, with what differs in a new file system: its size, what its chunks take, and its UUID.
func (s Superblock) Device(size, used uint64, uuid []byte) []byte {
	data := slices.Clone(s.raw[superDevItem:][:devItemLength])
	ondisk.PutUint64(data, devItemTotalBytes, size)
	ondisk.PutUint64(data, devItemBytesUsed, used)
	ondisk.PutUint64(data, devItemGeneration, 0)
	copy(data[devItemUUID:], uuid)
	return data
}

// State is what a superblock is to say of a file system that was written anew.
type State struct {
	Size, Used   uint64 // of the file system; by data and by the trees
	Generation   uint64
	Root, Chunks Pointer
	SystemChunks []byte // as in SystemChunks
	Device       []byte
	HasZstd      bool // something in it is compressed with zstd, in addition to what the feature bits say
}

// With returns the superblock of a file system that is as this one, except for its state. Logs, caches and older states are left out.
func (s Superblock) With(state State) Superblock {
	raw := slices.Clone(s.raw)
	ondisk.PutUint64(raw, superTotalBytes, state.Size)
	ondisk.PutUint64(raw, superBytesUsed, state.Used)
	ondisk.PutUint64(raw, superGeneration, state.Generation)
	ondisk.PutUint64(raw, superRoot, state.Root.Address)
	raw[superRootLevel] = state.Root.Level
	ondisk.PutUint64(raw, superChunkRoot, state.Chunks.Address)
	raw[superChunkRootLevel] = state.Chunks.Level
	ondisk.PutUint64(raw, superChunkGeneration, state.Generation)
	ondisk.PutUint64(raw, superLogRootTransID, 0)
	raw[superLogRootLevel] = 0
	ondisk.PutUint64(raw, superCompatRO, ondisk.Uint64(raw, superCompatRO)&compatROVerity)
	if state.HasZstd {
		ondisk.PutUint64(raw, superIncompat, ondisk.Uint64(raw, superIncompat)|incompatCompressZstd)
	}
	copy(raw[superDevItem:], state.Device)
	ondisk.PutUint64(raw, superCacheGeneration, 0)
	ondisk.PutUint64(raw, superUUIDGeneration, 0)
	clear(raw[superSysArray:superPadding]) // with the backup roots, which led to older states
	copy(raw[superSysArray:], state.SystemChunks)
	ondisk.PutUint32(raw, superSysArraySize, uint32(len(state.SystemChunks)))
	return fromRaw(raw).WithUUID(s.UUID)
}

// WithUUID returns the superblock of a file system that is as this one, except for its UUID. The tree blocks and the device item
// keep the metadata UUID. With that one, the feature METADATA_UUID is not in use.
func (s Superblock) WithUUID(id UUID) Superblock {
	raw := slices.Clone(s.raw)
	copy(raw[superFSID:], id[:])
	incompat := ondisk.Uint64(raw, superIncompat) &^ incompatMetadataUUID
	clear(raw[superMetadataUUID:][:len(id)])
	if id != s.MetadataUUID {
		incompat |= incompatMetadataUUID
		copy(raw[superMetadataUUID:], s.MetadataUUID[:])
	}
	ondisk.PutUint64(raw, superIncompat, incompat)
	return fromRaw(raw)
}

// Write writes the superblock and its mirror.
func (s Superblock) Write(out io.WriterAt) error {
	raw := slices.Clone(s.raw)
	for _, at := range []uint64{Offset, MirrorOffset} {
		if at+Length > uint64(s.Size) {
			continue
		}
		ondisk.PutUint64(raw, superBytenr, at)
		ondisk.PutUint32(raw, 0, ondisk.BlockSum(raw))
		if _, err := out.WriteAt(raw, int64(at)); err != nil {
			return err
		}
	}
	return nil
}
