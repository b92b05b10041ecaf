package sparse

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWriterKeepsContentAndLeavesHoles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var content []byte
		for range random.IntN(20) {
			piece := make([]byte, 1+random.IntN(3*block))
			if random.IntN(2) == 0 {
				piece[len(piece)/2] = 1
			}
			content = append(content, piece...)
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			t.Fatal(err)
		}
		w := NewWriter(f)
		for rest := content; len(rest) > 0; {
			n := min(1+random.IntN(2*block), len(rest))
			if got, err := w.Write(rest[:n]); err != nil || got != n {
				t.Fatalf("wrote %d of %d: %v", got, n, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("read back %d bytes, %v; wrote %d", len(got), err, len(content))
		}
		from := random.IntN(len(content) + 1)
		part, err := os.Create(filepath.Join(t.TempDir(), "part"))
		if err != nil {
			t.Fatal(err)
		}
		if err := CopyPart(part, f, int64(from), int64(len(content)-from)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(part.Name()); err != nil || !bytes.Equal(got, content[from:]) {
			t.Fatalf("copied %d bytes, %v; wanted %d", len(got), err, len(content)-from)
		}
		part.Close()
		f.Close()
	}
}

func TestCopyOfZerosTakesNoRoom(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := Copy(f, bytes.NewReader(make([]byte, 10<<20+1))); err != nil || n != 10<<20+1 {
		t.Fatal(n, err)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != 10<<20+1 || info.Sys().(*syscall.Stat_t).Blocks > 16 {
		t.Errorf("%d bytes in %d blocks, %v", info.Size(), info.Sys().(*syscall.Stat_t).Blocks, err)
	}
}
