package payload

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/payload/changes"
)

// DeltaVersion changes whenever WriteDelta's output changes; cache keys contain it.
const DeltaVersion = 1

// Installed is what a machine has of a release: its partition and its kernel.
type Installed struct{ Image, Kernel Source }

// WriteDelta writes a payload that makes one release of another, without its signatures (see Write). Blocks that are the same in the
// same place are left out. What is elsewhere in the old partition is moved, and the rest is sent. The kernel's changed blocks
// are sent, too.
func (w *Writer) WriteDelta(ctx context.Context, out io.Writer, key *rsa.PublicKey, from, to Installed) (Written, error) {
	switch {
	case to.Image.Size <= 0 || to.Image.Size%blockSize != 0 || from.Image.Size != to.Image.Size:
		return Written{}, fmt.Errorf("old and new image have %d B and %d B; wanted as much, and a multiple of %d B", from.Image.Size, to.Image.Size, blockSize)
	case from.Kernel.Size <= 0 || to.Kernel.Size <= 0:
		return Written{}, errors.New("a kernel is empty")
	}
	return w.write(out, key, func(data io.Writer) (*manifest, error) { return w.writeChanges(ctx, data, from, to) })
}

// writeChanges is for a delta what writeData is for a full update.
func (w *Writer) writeChanges(ctx context.Context, data io.Writer, from, to Installed) (*manifest, error) {
	image, err := changes.Find(ctx, from.Image.blocks(), to.Image.blocks())
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	kernel, err := changes.Compare(ctx, from.Kernel.blocks(), to.Kernel.blocks())
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	var m manifest
	for _, c := range image.Moves {
		m.partition = append(m.partition, operation{kind: move, from: []changes.Run{c.Source()}, to: []changes.Run{c.Target()}})
	}
	replaced, end, err := w.addRuns(ctx, data, to.Image, image.New, 0)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	m.partition = append(m.partition, replaced...)
	if n := len(m.partition); n > maxOperations/2 {
		return nil, fmt.Errorf("image: %d operations; wanted at most %d", n, maxOperations/2)
	}
	p := procedure{kind: kernelProcedure}
	if p.operations, m.signatures.offset, err = w.addRuns(ctx, data, to.Kernel, kernel, end); err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	var wrong [3]error
	m.newPartition, wrong[0] = to.Image.content(ctx)
	p.old, wrong[1] = from.Kernel.content(ctx)
	p.content, wrong[2] = to.Kernel.content(ctx)
	m.procedures = []procedure{p}
	return &m, errors.Join(wrong[:]...)
}

// addRuns writes the data of some of a source's blocks from an offset on. It returns their operations, and where the data ends.
func (w *Writer) addRuns(ctx context.Context, data io.Writer, source Source, runs []changes.Run, offset uint64) ([]operation, uint64, error) {
	some := newGathered(source, runs)
	operations, _, err := w.add(ctx, data, Source{some, some.size}, offset)
	for i := range operations {
		operations[i].to, runs = split(runs, chunkBlocks)
		offset = operations[i].data.end()
	}
	return operations, offset, err
}

// split returns the first blocks of runs, and the others.
func split(runs []changes.Run, blocks uint64) (first, rest []changes.Run) {
	for len(runs) > 0 && blocks > 0 {
		n := min(runs[0].Blocks, blocks)
		first = append(first, changes.Run{Start: runs[0].Start, Blocks: n})
		blocks -= n
		if n < runs[0].Blocks {
			return first, append([]changes.Run{{Start: runs[0].Start + n, Blocks: runs[0].Blocks - n}}, runs[1:]...)
		}
		runs = runs[1:]
	}
	return first, runs
}

// gathered reads runs of blocks as if each followed the one before.
type gathered struct {
	source Source
	runs   []changes.Run
	ends   []int64 // of each run, in what is read
	size   size.Bytes
}

func newGathered(source Source, runs []changes.Run) *gathered {
	g := &gathered{source: source, runs: runs}
	for _, r := range runs {
		g.size += bytesOf(r, source.Size)
		g.ends = append(g.ends, int64(g.size))
	}
	return g
}

// bytesOf is how much of content of a size is in a run that begins in it: the last block may be shorter.
func bytesOf(r changes.Run, all size.Bytes) size.Bytes {
	return min(size.Bytes(r.Blocks*blockSize), all-size.Bytes(r.Start*blockSize))
}

func (g *gathered) ReadAt(p []byte, off int64) (n int, err error) {
	for i := sort.Search(len(g.ends), func(i int) bool { return g.ends[i] > off }); n < len(p) && i < len(g.ends); i++ {
		part := p[n:min(int64(len(p)), int64(n)+g.ends[i]-off)]
		start := g.ends[i] - int64(bytesOf(g.runs[i], g.source.Size))
		done, err := g.source.Data.ReadAt(part, int64(g.runs[i].Start*blockSize)+off-start)
		n, off = n+done, off+int64(done)
		if done < len(part) {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s Source) blocks() changes.Image { return changes.Image{Data: s.Data, Size: s.Size} }

func (s Source) content(ctx context.Context) (Content, error) {
	sum, n, err := digest.OfReader(withContext{ctx, io.NewSectionReader(s.Data, 0, int64(s.Size))})
	if err == nil && size.Bytes(n) != s.Size {
		err = fmt.Errorf("%d B could be read; wanted %d B: %w", n, s.Size, io.ErrUnexpectedEOF)
	}
	return Content{size.Bytes(n), sum}, err
}
