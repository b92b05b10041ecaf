package verity

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
)

// The image under test has three levels above its data: 1 + 2 + 129 hash blocks behind the data in the same file.
const (
	testDataBlocks = 16385
	testHashOffset = testDataBlocks * BlockSize
)

func newTestImage(t *testing.T) (path string, root digest.SHA256) {
	t.Helper()
	path = inTempDir(t, "image")
	data := randomData(rand.NewChaCha8([32]byte{}), testDataBlocks)
	check(t, os.WriteFile(path, data, 0o600))
	return path, format(t, bytes.NewReader(data), path, testHashOffset, Params{testDataBlocks, testSalt, testUUID})
}

func TestVerifyNamesTheFirstBadBlock(t *testing.T) {
	needs.Programs(t, "veritysetup")
	path, root := newTestImage(t)
	image := openFile(t, path)
	verify := func() error { return Verify(t.Context(), image, image, testHashOffset, root) }
	check(t, verify())
	check(t, veritysetupVerify(t, path, path, testHashOffset, root))

	const tree = testHashOffset + BlockSize
	for name, bad := range map[string]struct {
		flip []int64 // bytes of the file
		want CorruptError
	}{
		"first data byte":       {[]int64{0}, CorruptError{Level: DataLevel, Block: 0, Offset: 0}},
		"last data byte":        {[]int64{testHashOffset - 1}, CorruptError{Level: DataLevel, Block: 16384, Offset: 16384 * BlockSize}},
		"two data blocks":       {[]int64{9000 * BlockSize, 77*BlockSize + 5}, CorruptError{Level: DataLevel, Block: 77, Offset: 77 * BlockSize}},
		"top of the tree":       {[]int64{tree + 1}, CorruptError{Level: 2, Block: 0, Offset: tree}},
		"unused end of the top": {[]int64{tree + BlockSize - 1}, CorruptError{Level: 2, Block: 0, Offset: tree}},
		"level 1 before data":   {[]int64{tree + BlockSize, 3}, CorruptError{Level: 1, Block: 0, Offset: tree + BlockSize}},
		"level 0":               {[]int64{tree + 3*BlockSize + 128*BlockSize}, CorruptError{Level: 0, Block: 128, Offset: tree + 131*BlockSize}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, at := range bad.flip {
				flipByte(t, path, at)
				defer flipByte(t, path, at)
			}
			for range 5 { // the same block each time, whichever core is faster
				wantCorrupt(t, verify(), bad.want)
			}
			if veritysetupVerify(t, path, path, testHashOffset, root) == nil {
				t.Error("veritysetup accepts it")
			}
		})
	}
	check(t, verify())
}

func TestVerifyNoticesChangesOfTheSuperblock(t *testing.T) {
	needs.Programs(t, "veritysetup")
	path, root := newTestImage(t)
	image := openFile(t, path)
	verify := func() error { return Verify(t.Context(), image, image, testHashOffset, root) }
	for field, at := range map[string]int64{
		"signature": 0, "version": 8, "hash type": 12, "hash name": 32, "data block size": 65, "hash block size": 69,
		"data blocks": 72, "data blocks, high byte": 79, "salt size": 80, "first salt byte": 88, "last salt byte": 119,
	} {
		flipByte(t, path, testHashOffset+at)
		if verify() == nil {
			t.Errorf("%s: we accept it", field)
		}
		if veritysetupVerify(t, path, path, testHashOffset, root) == nil {
			t.Errorf("%s: veritysetup accepts it", field)
		}
		flipByte(t, path, testHashOffset+at)
	}
	flipByte(t, path, testHashOffset+16) // UUID
	check(t, verify())
	check(t, veritysetupVerify(t, path, path, testHashOffset, root))
}

// One block less in the superblock leaves the layout, every digest and the root hash as they are.
func TestVerifyNoticesUncountedData(t *testing.T) {
	data := make([]byte, 300*BlockSize)
	path := inTempDir(t, "hash")
	root := format(t, bytes.NewReader(data), path, 0, Params{DataBlocks: 300})
	check(t, writeAt(path, Params{DataBlocks: 299}.encode(), 0))
	err := Verify(t.Context(), bytes.NewReader(data), openFile(t, path), 0, root)
	wantError(t, err, "hash block 2 of level 0 at byte 16384: is not zero behind its 43 digests")
}

func TestVerifyNamesWhatIsMissing(t *testing.T) {
	path, root := newTestImage(t)
	image := openFile(t, path)
	data := io.NewSectionReader(image, 0, testHashOffset)
	hash, err := io.ReadAll(io.NewSectionReader(image, testHashOffset, int64(HashSize(testDataBlocks))))
	check(t, err)
	for length, want := range map[int]string{
		0:             "superblock: hash file ends before byte 512: unexpected EOF",
		511:           "superblock: hash file ends before byte 512: unexpected EOF",
		BlockSize:     "hash block 0 of level 2: hash file ends before byte 8192: unexpected EOF",
		len(hash) - 1: "hash block 128 of level 0: hash file ends before byte 544768: unexpected EOF",
	} {
		err := Verify(t.Context(), data, bytes.NewReader(hash[:length]), 0, root)
		wantError(t, err, want)
	}
	short := io.NewSectionReader(image, 0, testHashOffset-1)
	err = Verify(t.Context(), short, bytes.NewReader(hash), 0, root)
	wantError(t, err, "data ends after 67112959 B; wanted 16385 blocks of 4096 B, which are 67112960 B: unexpected EOF")
}

// A claim costs no memory: the largest one still ends at the first block that is not there.
func TestVerifyOfAHugeClaim(t *testing.T) {
	hash := make([]byte, 2*BlockSize)
	copy(hash, Params{DataBlocks: maxDataBlocks}.encode())
	root := newHasher(nil, Params{}).sum(zeroBlock[:])
	err := Verify(t.Context(), zeros{}, bytes.NewReader(hash), 0, root)
	wantError(t, err, "hash block 0 of level 6: hash file ends before byte 12288: unexpected EOF")
}

func TestVerifyAtOffsetsOfVeritysetup(t *testing.T) {
	needs.Programs(t, "veritysetup")
	data := randomData(rand.NewChaCha8([32]byte{}), 300)
	dataPath := inTempDir(t, "data")
	check(t, os.WriteFile(dataPath, data, 0o600))
	for _, offset := range []int64{512, 3584, 4096, 4608} {
		path := inTempDir(t, fmt.Sprint(offset))
		p := Params{DataBlocks: 300, Salt: testSalt}
		root := veritysetupFormat(t, dataPath, path, p, fmt.Sprintf("--hash-offset=%d", offset))
		check(t, Verify(t.Context(), bytes.NewReader(data), openFile(t, path), offset, root))
	}
	for _, offset := range []int64{-512, 100} {
		err := Verify(t.Context(), bytes.NewReader(data), bytes.NewReader(nil), offset, digest.SHA256{})
		wantError(t, err, fmt.Sprintf("hash offset is %d B; wanted a multiple of 512 B", offset))
	}
}
