package chunks

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/klauspost/compress"

	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Tools are the packages of the tool root that determine the bytes of compressed chunks.
var Tools = []string{"lbzip2"}

// Compressor compresses chunks with a program of the tool root.
//
// lbzip2 takes about half the time of libbz2 for text and two thirds for machine code and files of btrfs,
// and its output is as small. The bzip2 writer for Go (dsnet/compress) takes twice as long as libbz2, and its output is
// up to a tenth larger.
type Compressor struct {
	Tools   *toolroot.Root
	Scratch string // a directory for temporary files
}

// Compress returns each chunk as one bzip2 stream. One process compresses all, because starting it in its sandbox takes a fifth
// of the time of one chunk.
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

// piece is the unit for measuring entropy, small enough to find compressible parts of a chunk.
const piece = 32 << 10

// mayShrink estimates whether compressing a chunk pays off, at a fraction of the cost of compressing.
//
// bzip2 wins by frequent bytes and by repeated strings. Most of a partition is what btrfs has compressed, of which it saves
// a percent or nothing, and that costs time here and on every machine that unpacks it. So a chunk must
// have bytes whose entropy is 1/80 below that of random ones, of which bzip2 makes about 2 percent, or as much of it twice.
func mayShrink(chunk []byte) bool {
	var bits int
	for part := range slices.Chunk(chunk, piece) {
		bits += compress.ShannonEntropyBits(part)
	}
	return bits <= len(chunk)*8-len(chunk)*8/80 || repeated(chunk) >= 0.02
}

// repeated estimates the share of a chunk that is a repetition. It samples strings of 8 bytes, about one in 64, chosen by their
// content, so both copies of a longer string give the same samples. Runs of zeros are left to the entropy, since all of
// their strings would be samples.
func repeated(chunk []byte) float64 {
	const mix = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	var sampled []uint64
	for ; len(chunk) >= 8; chunk = chunk[1:] {
		if s := binary.LittleEndian.Uint64(chunk); s != 0 && s*mix>>58 == 0 {
			sampled = append(sampled, s)
		}
	}
	all := len(sampled)
	if all == 0 {
		return 0
	}
	slices.Sort(sampled)
	return float64(all-len(slices.Compact(sampled))) / float64(all)
}
