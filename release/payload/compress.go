package payload

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/klauspost/compress"

	"github.com/flatcar/oem-sysext/oem/toolroot"
)

// Tools are the packages of the tool root that decide a payload's bytes.
var Tools = []string{"lbzip2"}

// Compressor compresses chunks with a program of the tool root.
//
// lbzip2 takes about half the time of libbz2 for text and two thirds for machine code and files of btrfs,
// and its output is as small. The bzip2 writer for Go (dsnet/compress) takes twice as long as libbz2, and its output is
// up to a tenth larger.
type Compressor struct {
	Tools   *toolroot.Root
	Scratch string // a directory for files that are gone when a call ends
}

// Compress returns each chunk as one bzip2 stream. One process does all, because starting it in its
// sandbox takes a fifth of the time that one chunk does.
func (c Compressor) Compress(ctx context.Context, chunks [][]byte) ([][]byte, error) {
	if len(chunks) == 0 {
		return nil, nil
	}
	dir, err := os.MkdirTemp(c.Scratch, "bzip2.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	args := []string{"-9", "-n1"}
	var files []string
	for i, chunk := range chunks {
		files = append(files, filepath.Join(dir, strconv.Itoa(i)))
		if err := os.WriteFile(files[i], chunk, 0o600); err != nil {
			return nil, err
		}
	}
	command := toolroot.Cmd{Program: "lbzip2", Args: slices.Concat(args, files), Write: []string{dir}}
	if err := c.Tools.Run(ctx, command); err != nil {
		return nil, err
	}
	compressed := make([][]byte, len(chunks))
	for i, file := range files {
		if compressed[i], err = os.ReadFile(file + ".bz2"); err != nil {
			return nil, fmt.Errorf("lbzip2 left no output: %w", err)
		}
	}
	return compressed, nil
}

// piece is what the entropy of a chunk is looked at in: where a chunk has a part that is not random, it shows.
const piece = 32 << 10

// mayShrink tells whether it is worth to compress a chunk, for a small part of what compressing costs.
//
// bzip2 wins by frequent bytes and by repeated strings. Random bytes in a piece of this length show an entropy that is
// 0.006 bits below 8 on average, and bzip2's own overhead is 0.04 bits; so a chunk whose bytes are about as frequent and
// that has no string twice does not shrink. Strings are looked for by samples, so what repeats only a few short ones is missed.
func mayShrink(chunk []byte) bool {
	var bits int
	for part := range slices.Chunk(chunk, piece) {
		bits += compress.ShannonEntropyBits(part)
	}
	return bits < len(chunk)*8-len(chunk)*4/100 || repeats(chunk)
}

// repeats tells whether one of the sampled strings of 8 bytes is there twice. Its content decides whether a string is
// sampled, so both places of a longer one give the same samples: one of 64 of its strings.
func repeats(chunk []byte) bool {
	const mix = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	var sampled []uint64
	for ; len(chunk) >= 8; chunk = chunk[1:] {
		if s := binary.LittleEndian.Uint64(chunk); s*mix>>58 == 0 {
			sampled = append(sampled, s)
		}
	}
	slices.Sort(sampled)
	return len(slices.Compact(sampled)) < len(sampled)
}
