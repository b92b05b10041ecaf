package verity

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestSuperblockRoundTrip(t *testing.T) {
	for _, want := range []Params{
		{DataBlocks: 1},
		{DataBlocks: 260094, Salt: testSalt, UUID: testUUID},
		{DataBlocks: maxDataBlocks, Salt: bytes.Repeat([]byte{7}, 256)},
	} {
		got, err := ParseSuperblock(want.encode())
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("error %v, parameters (-want +got):\n%s", err, diff)
		}
	}
}

func TestParseSuperblockRefuses(t *testing.T) {
	long := binary.LittleEndian.AppendUint64
	for want, change := range map[string]struct {
		at    int
		bytes []byte
	}{
		`superblock byte 0: signature is "Verity\x00\x00"; wanted "verity\x00\x00"`:                   {0, []byte{'V'}},
		"superblock byte 8: version is 2; wanted 1":                                                   {8, []byte{2}},
		"superblock byte 12: hash type is 0; wanted 1":                                                {12, []byte{0}},
		`superblock byte 32: hash name is "sha512"; wanted "sha256"`:                                  {32, []byte("sha512")},
		"superblock byte 64: data block size is 512; wanted 4096":                                     {64, []byte{0, 2}},
		"superblock byte 68: hash block size is 4097; wanted 4096":                                    {68, []byte{1}},
		"superblock byte 72: number of data blocks is 0; wanted 1 to 1125899906842624":                {72, make([]byte, 8)},
		"superblock byte 72: number of data blocks is 1125899906842625; wanted 1 to 1125899906842624": {72, long(nil, maxDataBlocks+1)},
		"superblock byte 80: salt size in bytes is 257; wanted at most 256":                           {80, []byte{1, 1}},
		"superblock byte 40: padding is 0x78; wanted 0":                                               {40, []byte("x")},
		"superblock byte 82: padding is 0x01; wanted 0":                                               {82, []byte{1}},
		"superblock byte 120: padding is 0x01; wanted 0":                                              {120, []byte{1}},
		"superblock byte 511: padding is 0x01; wanted 0":                                              {511, []byte{1}},
		"superblock byte 8: version is 0; wanted 1\nsuperblock byte 12: hash type is 0; wanted 1":     {8, make([]byte, 8)},
	} {
		encoded := Params{DataBlocks: 300, Salt: testSalt, UUID: testUUID}.encode()
		copy(encoded[change.at:], change.bytes)
		_, err := ParseSuperblock(encoded)
		wantError(t, err, want)
	}
	_, err := ParseSuperblock(make([]byte, 511))
	wantError(t, err, "superblock has 511 B; wanted 512 B")
}

// FuzzParseSuperblock checks that what is accepted was understood to the last byte.
func FuzzParseSuperblock(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, superblockSize))
	f.Add(Params{DataBlocks: 1}.encode())
	f.Add(Params{DataBlocks: maxDataBlocks, Salt: testSalt, UUID: testUUID}.encode())
	f.Add(append(Params{DataBlocks: 260094, Salt: make([]byte, 256)}.encode(), 1))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		p, err := ParseSuperblock(encoded)
		if err != nil {
			return
		}
		if err := p.check(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(encoded[:superblockSize], p.encode()); diff != "" {
			t.Errorf("encoded again (-want +got):\n%s", diff)
		}
	})
}
