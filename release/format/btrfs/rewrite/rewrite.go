// Package rewrite writes a btrfs file system anew, in a form that follows from its files alone: the normal form.
//
// In go a file system that nobody has mounted, and what it was before it was changed; out comes one with the same files,
// which has the same bytes whatever the kernel did in between. Refused are file systems that are damaged, and those with
// something that the normal form has no place for: several subvolumes, quotas, encryption, an unfinished balance.
package rewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/release/format/btrfs/codec"
	"github.com/flatcar/oem-sysext/release/format/btrfs/ondisk"
	"github.com/flatcar/oem-sysext/release/format/btrfs/space"
	"github.com/flatcar/oem-sysext/release/format/btrfs/superblock"
)

// rewriter writes a file system anew, in a form that follows from its files alone.
type rewriter struct {
	in    *reader
	out   io.WriterAt
	codec *codec.Codec
	base  superblock.Superblock // of the file system before the edit: its size, and the last generation that is not new
	epoch time.Time

	space       *space.Space
	compression compression // of the top directory
	files       []item      // of the file tree
	pieces      []piece
	moved       map[uint64]*movedPiece // by the old address
	extents     []extent               // as they are written
	hasZstd     bool
}

// generation is that of everything in a rewritten file system.
const generation = 1

// extent is a stretch of data on disk.
type extent struct {
	address, length uint64
	refs            []dataRef
	sums            []uint32 // one for each block, or none
}

// dataRef is a file that uses an extent, and from where in the file, counted to the extent's start.
type dataRef struct {
	inode, offset uint64
	count         uint32
}

// File writes to out the file system in the file in, which is an edited base, at the base's size.
// Data that the base had keeps its bytes; data of files that were written since is compressed anew.
// What it wrote is checked for the normal form.
func File(ctx context.Context, out, in *os.File, base superblock.Superblock, epoch time.Time) error {
	if err := write(ctx, out, in, base, epoch); err != nil {
		return err
	}
	if err := Check(ctx, out, epoch); err != nil {
		return fmt.Errorf("check the new file system: %w", err)
	}
	return nil
}

// Check returns an error unless a file system is in normal form: written anew, it is the same.
func Check(ctx context.Context, file *os.File, epoch time.Time) error {
	super, err := superblock.ReadFile(file)
	if err != nil {
		return err
	}
	return write(ctx, unchanged{file}, file, super, epoch)
}

// unchanged refuses to write what is not there already.
type unchanged struct{ io.ReaderAt }

func (u unchanged) WriteAt(p []byte, off int64) (int, error) {
	there := make([]byte, len(p))
	if _, err := u.ReadAt(there, off); err != nil {
		return 0, err
	}
	if !bytes.Equal(there, p) {
		return 0, fmt.Errorf("it is not in normal form at byte %d", off)
	}
	return len(p), nil
}

func write(ctx context.Context, out io.WriterAt, in *os.File, base superblock.Superblock, epoch time.Time) error {
	r, err := openReader(in)
	if err != nil {
		return err
	}
	coder, err := codec.New()
	if err != nil {
		return err
	}
	w := &rewriter{
		in: r, out: out, codec: coder, base: base, epoch: epoch,
		space: space.New(uint64(base.Size)), moved: map[uint64]*movedPiece{},
	}
	items, err := r.tree(ondisk.FSTree)
	if err != nil {
		return err
	}
	if err := w.planFiles(items); err != nil {
		return fmt.Errorf("file tree: %w", err)
	}
	if err := w.writePieces(ctx); err != nil {
		return err
	}
	return w.writeTrees()
}

// piece is data that is to be written. Pieces are prepared in parallel and placed one after the other.
type piece interface {
	prepare(w *rewriter) error
	place(w *rewriter) error
}

// window is how many pieces are held in memory.
const window = 128

func (w *rewriter) writePieces(ctx context.Context) error {
	for pieces := range slices.Chunk(w.pieces, window) {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(runtime.GOMAXPROCS(0))
		for _, p := range pieces {
			group.Go(func() error { return errors.Join(ctx.Err(), p.prepare(w)) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for _, p := range pieces {
			if err := p.place(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes whole blocks of data and returns their checksums.
func (w *rewriter) write(data []byte, address uint64) ([]uint32, error) {
	if _, err := w.out.WriteAt(data, int64(address)); err != nil {
		return nil, err
	}
	var sums []uint32
	for block := range slices.Chunk(data, ondisk.BlockSize) {
		sums = append(sums, ondisk.DataSum(block))
	}
	return sums, nil
}
