package superblock

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
)

const (
	testFilesystem = 96 * size.MiB
	testPartition  = 100 * size.MiB
)

// goodSuperblock is a superblock that is accepted.
func goodSuperblock() []byte {
	raw := make([]byte, Length)
	copy(raw[superMagic:], magic)
	for at, value := range map[int]uint64{
		superBytenr: Offset, superFlags: ondisk.Written, superGeneration: 7, superTotalBytes: uint64(testFilesystem),
		superBytesUsed: 1 << 20, superNumDevices: 1, superIncompat: incompatWanted,
		superDevItem + devItemID: 1, superDevItem + devItemTotalBytes: uint64(testFilesystem),
	} {
		ondisk.PutUint64(raw, at, value)
	}
	ondisk.PutUint32(raw, superSectorSize, ondisk.BlockSize)
	ondisk.PutUint32(raw, superNodeSize, ondisk.BlockSize)
	copy(raw[superLabel:], "USR-A")
	raw[superFSID], raw[superDevItem+devItemFSID] = 1, 1
	return summed(raw)
}

func summed(raw []byte) []byte {
	ondisk.PutUint32(raw, 0, ondisk.BlockSum(raw))
	return raw
}

func TestParseSuperblock(t *testing.T) {
	super, err := parse(goodSuperblock(), testPartition)
	if err != nil || super.Size != testFilesystem || super.Used != size.MiB || super.Label != "USR-A" || super.Generation != 7 {
		t.Fatalf("got %+v, %v", super, err)
	}
	for name, c := range map[string]struct {
		change func(raw []byte)
		want   string
	}{
		"other system":   {func(raw []byte) { raw[superMagic] = 'x' }, "magic"},
		"other checksum": {func(raw []byte) { raw[superCsumType] = 1 }, "checksum type is 1"},
		"mirror":         {func(raw []byte) { ondisk.PutUint64(raw, superBytenr, MirrorOffset) }, "own address"},
		"seed":           {func(raw []byte) { ondisk.PutUint64(raw, superFlags, 1|1<<32) }, "flags"},
		"big sectors":    {func(raw []byte) { ondisk.PutUint32(raw, superSectorSize, 16384) }, "sector size is 16384"},
		"big nodes":      {func(raw []byte) { ondisk.PutUint32(raw, superNodeSize, 16384) }, "node size is 16384"},
		"cut off":        {func(raw []byte) { ondisk.PutUint64(raw, superTotalBytes, 1<<30) }, "the file holds 104857600"},
		"huge":           {func(raw []byte) { ondisk.PutUint64(raw, superTotalBytes, 1<<63) }, "the file holds"},
		"tiny":           {func(raw []byte) { ondisk.PutUint64(raw, superTotalBytes, 4096) }, "at least 16777216"},
		"overused":       {func(raw []byte) { ondisk.PutUint64(raw, superBytesUsed, 1<<62) }, "are used"},
		"two devices":    {func(raw []byte) { ondisk.PutUint64(raw, superNumDevices, 2) }, "number of devices is 2"},
		"device id":      {func(raw []byte) { ondisk.PutUint64(raw, superDevItem, 2) }, "device id is 2"},
		"not mixed":      {func(raw []byte) { ondisk.PutUint64(raw, superIncompat, incompatWanted&^incompatMixedGroups) }, "incompat"},
		"unknown":        {func(raw []byte) { ondisk.PutUint64(raw, superIncompat, incompatWanted|1<<13) }, "incompat"},
		"unknown ro":     {func(raw []byte) { ondisk.PutUint64(raw, superCompatRO, 1<<40) }, "compat-ro"},
		"mounted":        {func(raw []byte) { ondisk.PutUint64(raw, superLogRoot, 8<<20) }, "log tree's address"},
		"long array":     {func(raw []byte) { ondisk.PutUint32(raw, superSysArraySize, 1<<31) }, "system chunks"},
		"zero metadata":  {func(raw []byte) { ondisk.PutUint64(raw, superIncompat, incompatWanted|incompatMetadataUUID) }, "superblock byte 571: metadata UUID is zero"},
		"other device":   {func(raw []byte) { raw[superDevItem+devItemFSID] = 9 }, "superblock byte 283: the device belongs to file system 09000000-"},
		"other trees": {func(raw []byte) {
			ondisk.PutUint64(raw, superIncompat, incompatWanted|incompatMetadataUUID)
			raw[superMetadataUUID] = 2
		}, "wanted 02000000-"},
		"deep": {func(raw []byte) { raw[superRootLevel] = 8 }, "tree levels"},
	} {
		raw := goodSuperblock()
		c.change(raw)
		if _, err := parse(summed(raw), testPartition); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v; wanted one with %q", name, err, c.want)
		}
	}
	raw := goodSuperblock()
	raw[superLabel] ^= 1
	if _, err := parse(raw, testPartition); err == nil || !strings.Contains(err.Error(), "checksum is") {
		t.Errorf("a flipped bit: error is %v", err)
	}
}

func TestWithUUID(t *testing.T) {
	plain, err := parse(goodSuperblock(), testPartition)
	if err != nil {
		t.Fatal(err)
	}
	super := plain
	for _, id := range []UUID{{2}, {3}, {1}} { // the second change keeps the metadata UUID, the third is back to it
		if super, err = parse(summed(super.WithUUID(id).raw), testPartition); err != nil || super.UUID != id || super.MetadataUUID != (UUID{1}) {
			t.Errorf("UUID %v, metadata UUID %v, %v; wanted %v and %v", super.UUID, super.MetadataUUID, err, id, UUID{1})
		}
	}
	if !bytes.Equal(super.raw, plain.raw) {
		t.Error("with its first UUID, the superblock is another one than before")
	}
}

func TestShortFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(path, make([]byte, Offset+100), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "wanted at least 68.0 KiB") {
		t.Errorf("error is %v", err)
	}
}

func FuzzSuperblock(f *testing.F) {
	f.Add(goodSuperblock(), int64(testPartition))
	other := goodSuperblock()
	ondisk.PutUint64(other, superIncompat, incompatWanted|incompatMetadataUUID)
	f.Add(bytes.Clone(other), int64(testPartition)) // which is zero
	other[superMetadataUUID] = 1
	f.Add(other, int64(testPartition))
	f.Fuzz(func(t *testing.T, raw []byte, length int64) {
		if len(raw) != Length {
			return
		}
		super, err := parse(summed(raw), size.Bytes(length))
		if err == nil && (super.Size > size.Bytes(length) || super.Used > super.Size) {
			t.Errorf("accepted %+v in a file of %d bytes", super, length)
		}
		if err == nil && super.UUID != super.MetadataUUID && super.MetadataUUID == (UUID{}) {
			t.Error("accepted a metadata UUID of zeros")
		}
	})
}
