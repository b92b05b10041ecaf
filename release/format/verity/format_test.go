package verity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/needs"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Made with veritysetup 2.6.1 from data whose block i is filled with the byte i mod 256.
func TestFormatKnownTrees(t *testing.T) {
	for _, known := range []struct {
		dataBlocks uint64
		salt       []byte
		treeBlocks uint64
		root       string
		file       string // sha256 of the whole hash file
	}{
		{1, testSalt, 0, "e8f5182728347820522a9cf22e654f59e740c53088545ea63a71ff01607964d0", "8634e1f791213a06833c43d1d7203991f210169a1467c6ca7f54a3572490d7f4"},
		{2, testSalt, 1, "64f4406a466a0cd0e9ffabe8d12ca6ff9024d2e66c14665ad55bbeb48b593c9b", "9e50c73cfd3681a4d664ebfdf3e8ade7434237d8cdf439e771929deb692c9bb4"},
		{128, testSalt, 1, "0168613746b6a549dd2f4d79d96271939d2a29227886b8529b45399703bce8aa", "3aa2abbb2e467375790df506108d27499e0b174b4a2fe1a0f23517553926836f"},
		{129, testSalt, 3, "03feb8c88022522f56d6b0b367ec69aa6713a0e6929152bff7af3a5cdb13adb3", "fcb528064d44d8a006fdf49fd9c6f8fce1a34f54b78d27d1606d8859d345d32a"},
		{16385, testSalt, 132, "79e44908259982761adba8029709db406f2a193f4e4b1d0525ba98e28efce42a", "91ec4e534d524575a4303316a292c907985db05afabe66f323443ec3eeb28271"},
		{129, nil, 3, "f0dbc433d6188c4e8e30ee2de31ee90ab1edf2fd7438d97feab12f75375886ad", "1bd17c0eb26f1aadeb160351165be3b613840010dfcb840e895aec82bb80827d"},
	} {
		t.Run(fmt.Sprintf("%d blocks, %d B of salt", known.dataBlocks, len(known.salt)), func(t *testing.T) {
			if got := TreeBlocks(known.dataBlocks); got != known.treeBlocks {
				t.Errorf("TreeBlocks is %d; wanted %d", got, known.treeBlocks)
			}
			var data []byte
			for i := range known.dataBlocks {
				data = append(data, bytes.Repeat([]byte{byte(i)}, BlockSize)...)
			}
			path := inTempDir(t, "hash")
			root := format(t, bytes.NewReader(data), path, 0, Params{known.dataBlocks, known.salt, testUUID})
			file, _, err := digest.OfFile(path)
			check(t, err)
			if diff := cmp.Diff([]string{known.root, known.file}, []string{root.String(), file.String()}); diff != "" {
				t.Errorf("root hash and sha256 of the file (-want +got):\n%s", diff)
			}
			check(t, Verify(t.Context(), bytes.NewReader(data), openFile(t, path), 0, root))
		})
	}
}

// The tree must be veritysetup's to the byte for every length of data and salt.
func TestFormatLikeVeritysetup(t *testing.T) {
	needs.Programs(t, "veritysetup")
	random := rand.NewChaCha8([32]byte{})
	numbers := rand.New(random)
	dataBlocks := []uint64{1, 2, 127, 128, 129, 255, 256, 257, 16384, 16385}
	saltSizes := []int{0, 1, 31, 32, 33, 55, 56, 63, 64, 65, 119, 120, 255, 256}
	for range 14 {
		dataBlocks = append(dataBlocks, 1+numbers.Uint64N(4000))
	}
	for i, blocks := range dataBlocks {
		p := Params{DataBlocks: blocks, Salt: make([]byte, saltSizes[i%len(saltSizes)])}
		fill(random, p.Salt)
		fill(random, p.UUID[:])
		data := randomData(random, blocks)
		t.Run(fmt.Sprintf("%d blocks, %d B of salt", blocks, len(p.Salt)), func(t *testing.T) {
			dataPath, theirs, ours := inTempDir(t, "data"), inTempDir(t, "theirs"), inTempDir(t, "ours")
			check(t, os.WriteFile(dataPath, data, 0o600))
			want := veritysetupFormat(t, dataPath, theirs, p)
			got := format(t, bytes.NewReader(data), ours, 0, p)
			if got != want {
				t.Errorf("root hash is %v; veritysetup says %v", got, want)
			}
			sameArea(t, ours, 0, theirs, p)
			check(t, veritysetupVerify(t, dataPath, ours, 0, got))
			check(t, Verify(t.Context(), bytes.NewReader(data), openFile(t, theirs), 0, got))
		})
	}
}

// Flatcar keeps data and tree in one partition of 1 GiB and 260094 blocks of data,
// from scripts/build_library/disk_layout.json.
func TestFormatFlatcarUsr(t *testing.T) {
	needs.Programs(t, "veritysetup")
	p := Params{DataBlocks: 260094, Salt: testSalt, UUID: testUUID}
	hashOffset := int64(p.DataBlocks * BlockSize)
	path, theirs := inTempDir(t, "usr"), inTempDir(t, "theirs")
	random := rand.NewChaCha8([32]byte{})
	writeFile(t, path, func(f *os.File) {
		for _, block := range []int64{0, 16384, 123456, 260093} { // the rest is a hole
			_, err := io.CopyN(io.NewOffsetWriter(f, block*BlockSize), random, BlockSize)
			check(t, err)
		}
	})
	want := veritysetupFormat(t, path, theirs, p)
	root := format(t, openFile(t, path), path, hashOffset, p)
	if root != want {
		t.Fatalf("root hash is %v; veritysetup says %v", root, want)
	}
	sameArea(t, path, hashOffset, theirs, p)
	info, err := os.Stat(path)
	check(t, err)
	if size.Bytes(info.Size()) != size.GiB {
		t.Errorf("partition has %d B; wanted 1 GiB", info.Size())
	}
	usr := openFile(t, path)
	check(t, Verify(t.Context(), usr, usr, hashOffset, root))
	check(t, veritysetupVerify(t, path, path, hashOffset, root))

	flipByte(t, path, 16384*BlockSize)
	wantCorrupt(t, Verify(t.Context(), usr, usr, hashOffset, root),
		CorruptError{Level: DataLevel, Block: 16384, Offset: 16384 * BlockSize})
	if veritysetupVerify(t, path, path, hashOffset, root) == nil {
		t.Error("veritysetup accepts a flipped byte")
	}
}

func TestHashSize(t *testing.T) {
	for dataBlocks, want := range map[uint64]size.Bytes{
		0:             4 * size.KiB,
		1:             4 * size.KiB,
		128:           8 * size.KiB,
		260094:        2050 * 4 * size.KiB,
		maxDataBlocks: (1<<50/127 + 2) * 4096,
	} {
		if got := HashSize(dataBlocks); got != want {
			t.Errorf("HashSize(%d) is %d B; wanted %d B", dataBlocks, got, want)
		}
	}
}

func TestFormatRefuses(t *testing.T) {
	for want, p := range map[string]Params{
		"0 data blocks; wanted 1 to 1125899906842624":                                               {},
		"1125899906842625 data blocks; wanted 1 to 1125899906842624":                                {DataBlocks: maxDataBlocks + 1},
		"salt has 257 B; wanted at most 256 B":                                                      {DataBlocks: 1, Salt: make([]byte, 257)},
		"data ends after 524289 B; wanted 131 blocks of 4096 B, which are 536576 B: unexpected EOF": {DataBlocks: 131},
	} {
		_, err := Format(t.Context(), bytes.NewReader(make([]byte, 128*BlockSize+1)), &discard{}, 0, p)
		wantError(t, err, want)
	}
	for offset, want := range map[int64]string{
		512:                    "hash offset is 512 B; wanted a multiple of 4096 B",
		-4096:                  "hash offset is -4096 B; wanted a multiple of 4096 B",
		math.MaxInt64 - 0x1fff: "hash area of 8.0 KiB does not fit behind byte 9223372036854767616",
	} {
		_, err := Format(t.Context(), bytes.NewReader(make([]byte, 2*BlockSize)), &discard{}, offset, Params{DataBlocks: 2})
		wantError(t, err, want)
	}
}

func TestFormatReportsFailedWrites(t *testing.T) {
	full := &discard{err: errors.New("no space left")}
	_, err := Format(t.Context(), bytes.NewReader(make([]byte, 200*BlockSize)), full, 0, Params{DataBlocks: 200})
	wantError(t, err, "write hash block at byte 8192: no space left")
	_, err = Format(t.Context(), bytes.NewReader(make([]byte, BlockSize)), full, 0, Params{DataBlocks: 1})
	wantError(t, err, "write superblock at byte 0: no space left")
}

func TestFormatStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hash := &discard{onWrite: cancel}
	p := Params{DataBlocks: maxDataBlocks}
	if _, err := Format(ctx, zeros{}, hash, 0, p); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; wanted context.Canceled", err)
	}
}

// discard is a hash file that keeps nothing.
type discard struct {
	err     error
	onWrite func()
}

func (d *discard) WriteAt(b []byte, _ int64) (int, error) {
	if d.onWrite != nil {
		d.onWrite()
	}
	return len(b), d.err
}

// zeros is data without end.
type zeros struct{}

func (zeros) ReadAt(b []byte, _ int64) (int, error) {
	clear(b)
	return len(b), nil
}
