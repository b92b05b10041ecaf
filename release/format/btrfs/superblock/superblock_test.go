package btrfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// goodSuperblock is a superblock that is accepted.
func goodSuperblock() []byte {
	raw := make([]byte, superLength)
	copy(raw[superMagic:], magic)
	for at, value := range map[int]uint64{
		superBytenr: superOffset, superFlags: headerWritten, superGeneration: 7, superTotalBytes: uint64(testFilesystem),
		superBytesUsed: 1 << 20, superNumDevices: 1, superIncompat: incompatWanted,
		superDevItem + devItemID: 1, superDevItem + devItemTotalBytes: uint64(testFilesystem),
	} {
		setField64(raw, at, value)
	}
	setField32(raw, superSectorSize, blockSize)
	setField32(raw, superNodeSize, blockSize)
	copy(raw[superLabel:], "USR-A")
	return summed(raw)
}

func summed(raw []byte) []byte {
	setField32(raw, 0, blockSum(raw))
	return raw
}

func TestParseSuperblock(t *testing.T) {
	super, err := parseSuperblock(goodSuperblock(), testPartition)
	if err != nil || super.Size != testFilesystem || super.Used != size.MiB || super.Label != "USR-A" || super.Generation != 7 {
		t.Fatalf("got %+v, %v", super, err)
	}
	for name, c := range map[string]struct {
		change func(raw []byte)
		want   string
	}{
		"other system":   {func(raw []byte) { raw[superMagic] = 'x' }, "magic"},
		"other checksum": {func(raw []byte) { raw[superCsumType] = 1 }, "checksum type is 1"},
		"mirror":         {func(raw []byte) { setField64(raw, superBytenr, superMirrorOffset) }, "own address"},
		"seed":           {func(raw []byte) { setField64(raw, superFlags, 1|1<<32) }, "flags"},
		"big sectors":    {func(raw []byte) { setField32(raw, superSectorSize, 16384) }, "sector size is 16384"},
		"big nodes":      {func(raw []byte) { setField32(raw, superNodeSize, 16384) }, "node size is 16384"},
		"cut off":        {func(raw []byte) { setField64(raw, superTotalBytes, 1<<30) }, "the file holds 104857600"},
		"huge":           {func(raw []byte) { setField64(raw, superTotalBytes, 1<<63) }, "the file holds"},
		"tiny":           {func(raw []byte) { setField64(raw, superTotalBytes, 4096) }, "at least 16777216"},
		"overused":       {func(raw []byte) { setField64(raw, superBytesUsed, 1<<62) }, "are used"},
		"two devices":    {func(raw []byte) { setField64(raw, superNumDevices, 2) }, "number of devices is 2"},
		"device id":      {func(raw []byte) { setField64(raw, superDevItem, 2) }, "device id is 2"},
		"not mixed":      {func(raw []byte) { setField64(raw, superIncompat, incompatWanted&^incompatMixedGroups) }, "incompat"},
		"unknown":        {func(raw []byte) { setField64(raw, superIncompat, incompatWanted|1<<13) }, "incompat"},
		"unknown ro":     {func(raw []byte) { setField64(raw, superCompatRO, 1<<40) }, "compat-ro"},
		"mounted":        {func(raw []byte) { setField64(raw, superLogRoot, 8<<20) }, "log tree's address"},
		"long array":     {func(raw []byte) { setField32(raw, superSysArraySize, 1<<31) }, "system chunks"},
		"deep":           {func(raw []byte) { raw[superRootLevel] = 8 }, "tree levels"},
	} {
		raw := goodSuperblock()
		c.change(raw)
		if _, err := parseSuperblock(summed(raw), testPartition); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v; wanted one with %q", name, err, c.want)
		}
	}
	raw := goodSuperblock()
	raw[superLabel] ^= 1
	if _, err := parseSuperblock(raw, testPartition); err == nil || !strings.Contains(err.Error(), "checksum is") {
		t.Errorf("a flipped bit: error is %v", err)
	}
}

func TestShortFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "short")
	must(t, os.WriteFile(path, make([]byte, superOffset+100), 0o600))
	if _, err := ReadSuperblock(path); err == nil || !strings.Contains(err.Error(), "wanted at least 68.0 KiB") {
		t.Errorf("error is %v", err)
	}
}

func FuzzSuperblock(f *testing.F) {
	f.Add(goodSuperblock(), int64(testPartition))
	f.Fuzz(func(t *testing.T, raw []byte, length int64) {
		if len(raw) != superLength {
			return
		}
		super, err := parseSuperblock(summed(raw), size.Bytes(length))
		if err == nil && (super.Size > size.Bytes(length) || super.Used > super.Size) {
			t.Errorf("accepted %+v in a file of %d bytes", super, length)
		}
	})
}

// FuzzTrees reads trees from a file whose blocks behind the superblock are the fuzzer's, with their checksums put right.
func FuzzTrees(f *testing.F) {
	f.Add(make([]byte, 2*blockSize))
	f.Fuzz(func(t *testing.T, blocks []byte) {
		const start = 1 << 20
		file, err := os.Create(filepath.Join(t.TempDir(), "image"))
		must(t, err)
		defer file.Close()
		must(t, file.Truncate(int64(testPartition)))
		super := goodSuperblock()
		setField64(super, superChunkRoot, start)
		setField64(super, superRoot, start+blockSize)
		putChunk(super, start, uint64(len(blocks))/blockSize*blockSize)
		_, err = file.WriteAt(summed(super), superOffset)
		must(t, err)
		for i := range len(blocks) / blockSize {
			block := blocks[i*blockSize:][:blockSize]
			setField64(block, headerAddress, uint64(start+i*blockSize))
			_, err = file.WriteAt(summed(block), int64(start+i*blockSize))
			must(t, err)
		}
		base, err := parseSuperblock(super, testPartition)
		must(t, err)
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		must(t, err)
		defer out.Close()
		_ = rewrite(t.Context(), out, file, base, testEpoch) // must not panic
	})
}

func putChunk(super []byte, start, length uint64) {
	key{firstChunk, chunkItem, start}.put(super[superSysArray:])
	c := super[superSysArray+keyLength:]
	setField64(c, chunkSize, length)
	c[chunkNumStripes] = 1
	setField64(c, chunkPhysical, start)
	setField32(super, superSysArraySize, keyLength+chunkLength)
}

func FuzzFileExtent(f *testing.F) {
	f.Add(make([]byte, fileLength), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint64) {
		e, err := parseFileExtent(item{key{firstInode, extentData, at}, data})
		if err == nil && e.kind == typeInline {
			_ = (&reader{}).readFile(make([]byte, unit), []fileExtent{e}, 0) // must not panic
		}
		_ = normaliseEntries(item{data: data})
	})
}
