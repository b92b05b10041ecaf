package chunks

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot/toolroottest"
)

// random returns bytes that nothing compresses.
func random(length int, seed byte) []byte {
	content := make([]byte, length)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(content)
	return content
}

func text(length int) []byte {
	var content []byte
	for i := 0; len(content) < length; i++ {
		content = append(content, "line "+strconv.Itoa(i*i)+" of a file\n"...)
	}
	return content[:length]
}

// TestRepeatedChunksAreCompressedOnce counts what the compressor gets of content that is empty but for its beginning.
func TestRepeatedChunksAreCompressedOnce(t *testing.T) {
	var compressed, taken int
	c := Cutter{Jobs: 1, Compress: func(_ context.Context, chunks [][]byte) ([][]byte, error) {
		compressed += len(chunks)
		return make([][]byte, len(chunks)), nil // as small as can be
	}}
	content := append(random(3*Size, 1), make([]byte, 61*Size)...)
	err := c.Each(t.Context(), bytes.NewReader(content), size.Bytes(len(content)), func(Chunk) error { taken++; return nil })
	if err != nil || compressed != 1 || taken != 64 {
		t.Errorf("%d chunks were compressed and %d taken, %v; wanted the empty one, and 64", compressed, taken, err)
	}
}

// TestNothingThatShrinksMuchIsLeftOut compares the look at a chunk with what the compressor makes of it.
func TestNothingThatShrinksMuchIsLeftOut(t *testing.T) {
	const block = 4096
	sixBits := random(Size, 5)
	for i := range sixBits {
		sixBits[i] &= 63
	}
	chunks := map[string][]byte{
		"random":                   random(Size, 6),
		"random, short":            random(77, 6),
		"one random block often":   bytes.Repeat(random(block, 7), Size/block),
		"the same half twice":      bytes.Repeat(random(Size/2, 8), 2),
		"empty blocks in it":       append(random(Size-8*block, 9), make([]byte, 8*block)...),
		"text":                     text(Size),
		"a little text at the end": append(random(Size-16*block, 10), text(16*block)...),
		"six bits of each byte":    sixBits,
		"empty":                    make([]byte, Size),
	}
	lbzip2 := Compressor{Tools: toolroottest.Open(t), Scratch: t.TempDir()}
	for name, chunk := range chunks {
		compressed, err := lbzip2.Compress(t.Context(), [][]byte{chunk})
		if err != nil {
			t.Fatal(err)
		}
		shrinks, may := len(compressed[0]) < len(chunk)*98/100, mayShrink(chunk)
		if shrinks && !may || name == "random" && may {
			t.Errorf("%s: shrinks by %d B, and the look says %v", name, len(chunk)-len(compressed[0]), may)
		}
	}
}
