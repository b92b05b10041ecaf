package verity

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// A tree that is brought up to date is the one that is made anew, for every size, place and number of changes, and with another UUID.
func TestRehashLikeFormat(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	numbers := rand.New(random)
	sizes := []uint64{1, 2, 127, 128, 129, 255, 256, 257, 16384, 16385}
	for range 10 {
		sizes = append(sizes, 1+numbers.Uint64N(20_000))
	}
	for _, blocks := range sizes {
		path, anew := inTempDir(t, "updated"), inTempDir(t, "anew")
		data, offset := randomData(random, blocks), int64(blocks*BlockSize)
		check(t, os.WriteFile(path, data, 0o600))
		p := Params{DataBlocks: blocks, Salt: testSalt}
		format(t, openFile(t, path), path, offset, p)

		var changed []Range
		for range numbers.IntN(4) {
			r := Range{Start: numbers.Int64N(offset)}
			r.Length = 1 + numbers.Int64N(min(offset-r.Start, 3*digestsPerBlock*BlockSize))
			fill(random, data[r.Start:r.Start+r.Length])
			check(t, writeAt(path, data[r.Start:r.Start+r.Length], r.Start))
			changed = append(changed, r)
		}
		p.UUID = testUUID
		check(t, os.WriteFile(anew, data, 0o600))
		want := format(t, openFile(t, anew), anew, offset, p)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		check(t, err)
		got, err := Rehash(t.Context(), f, offset, p, changed...)
		check(t, err)
		check(t, f.Close())
		sum, _, err := digest.OfFile(path)
		check(t, err)
		wantSum, _, err := digest.OfFile(anew)
		check(t, err)
		if got != want || sum != wantSum {
			t.Errorf("%d blocks, changed in %v: root hash is %v, sha256 of the file %v; wanted %v and %v", blocks, changed, got, sum, want, wantSum)
		}
	}
}

// What is not said to have changed is neither read nor written, and a tree that does not belong to the data is not used.
func TestRehashTrustsTheRest(t *testing.T) {
	path, root := newTestImage(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	p := Params{testDataBlocks, testSalt, testUUID}
	flipByte(t, path, 5000*BlockSize)
	if got, err := Rehash(t.Context(), f, testHashOffset, p, Range{0, 1}, Range{6000 * BlockSize, BlockSize}); err != nil || got != root {
		t.Errorf("without a word of block 5000, the root hash is %v, %v; wanted %v", got, err, root)
	}
	if got, err := Rehash(t.Context(), f, testHashOffset, p, Range{5000*BlockSize + 1, 1}); err != nil || got == root {
		t.Errorf("with block 5000, the root hash is %v, %v; wanted another one", got, err)
	}
	for want, p := range map[string]Params{
		fmt.Sprintf("hash area has 16385 data blocks and the salt %x; wanted 16384 and %[1]x", testSalt): {testDataBlocks - 1, testSalt, testUUID},
		fmt.Sprintf("hash area has 16385 data blocks and the salt %x; wanted 16385 and 01", testSalt):    {testDataBlocks, []byte{1}, testUUID},
	} {
		_, err := Rehash(t.Context(), f, testHashOffset, p)
		wantError(t, err, want)
	}
}
