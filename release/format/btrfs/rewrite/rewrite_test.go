package rewrite

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/btrfs/codec"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

const (
	testFilesystem = 96 * size.MiB
	testPartition  = 100 * size.MiB
)

// goodSuperblock is a superblock that is accepted, in a file.
func goodSuperblock(t *testing.T, file *os.File) superblock.Superblock {
	t.Helper()
	raw := make([]byte, superblock.Length)
	copy(raw[64:], "_BHRfS_M")
	for at, value := range map[int]uint64{ // fields of struct btrfs_super_block
		48: superblock.Offset, 56: ondisk.Written, 72: 7, 112: uint64(testFilesystem), 120: 1 << 20, 136: 1,
		188: 1<<0 | 1<<2 | 1<<8 | 1<<9, 201: 1, 201 + 8: uint64(testFilesystem),
	} {
		ondisk.PutUint64(raw, at, value)
	}
	ondisk.PutUint32(raw, 144, ondisk.BlockSize)
	ondisk.PutUint32(raw, 148, ondisk.BlockSize)
	_, err := file.WriteAt(summed(raw), superblock.Offset)
	must(t, err)
	super, err := superblock.ReadFile(file)
	must(t, err)
	return super
}

func summed(block []byte) []byte {
	ondisk.PutUint32(block, 0, ondisk.BlockSum(block))
	return block
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzTrees reads trees from a file whose blocks behind the superblock are the fuzzer's, with their checksums put right.
func FuzzTrees(f *testing.F) {
	f.Add(make([]byte, 2*ondisk.BlockSize))
	f.Fuzz(func(t *testing.T, blocks []byte) {
		const start = 1 << 20
		file, err := os.Create(filepath.Join(t.TempDir(), "image"))
		must(t, err)
		defer file.Close()
		must(t, file.Truncate(int64(testPartition)))
		base := goodSuperblock(t, file).With(superblock.State{
			Size: uint64(testFilesystem), Used: 1 << 20, Generation: 7,
			Root: superblock.Pointer{Address: start + ondisk.BlockSize}, Chunks: superblock.Pointer{Address: start},
			SystemChunks: chunkAt(start, uint64(len(blocks))/ondisk.BlockSize*ondisk.BlockSize),
		})
		must(t, base.Write(file))
		for i := range len(blocks) / ondisk.BlockSize {
			block := blocks[i*ondisk.BlockSize:][:ondisk.BlockSize]
			ondisk.PutUint64(block, ondisk.HeaderAddress, uint64(start+i*ondisk.BlockSize))
			_, err = file.WriteAt(summed(block), int64(start+i*ondisk.BlockSize))
			must(t, err)
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		must(t, err)
		defer out.Close()
		_ = File(t.Context(), out, file, base, time.Unix(1_700_000_000, 0)) // must not panic
	})
}

// chunkAt is a chunk in a superblock.
func chunkAt(start, length uint64) []byte {
	system := make([]byte, ondisk.KeyLength+ondisk.ChunkLength)
	key{ondisk.FirstChunk, ondisk.ChunkItem, start}.put(system)
	c := system[ondisk.KeyLength:]
	ondisk.PutUint64(c, ondisk.ChunkSize, length)
	c[ondisk.ChunkNumStripes] = 1
	ondisk.PutUint64(c, ondisk.ChunkPhysical, start)
	return system
}

func FuzzFileExtent(f *testing.F) {
	f.Add(make([]byte, ondisk.FileLength), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint64) {
		e, err := parseFileExtent(item{key{ondisk.FirstInode, ondisk.ExtentData, at}, data})
		if err == nil && e.kind == ondisk.TypeInline {
			_ = (&reader{}).readFile(make([]byte, codec.Unit), []fileExtent{e}, 0) // must not panic
		}
		_ = normaliseEntries(item{data: data})
	})
}
