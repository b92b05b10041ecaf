package payload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/sparse"
	"github.com/flatcar/oem-sysext/release/format/payload/changes"
)

// checkChanges checks that the operations of a delta take their data one after the other from an offset on, that none writes what
// another one has written, and that none reads such blocks. It returns where their data ends.
func checkChanges(name string, operations []operation, c Content, offset uint64) (uint64, error) {
	blocks := uint64(c.Size+blockSize-1) / blockSize
	written := make([]bool, blocks)
	for i, o := range operations {
		bad := func(format string, args ...any) (uint64, error) {
			return 0, mistake(o.at, "%s %d: %w", name, i, fmt.Errorf(format, args...))
		}
		for _, r := range append(o.from[:len(o.from):len(o.from)], o.to...) {
			if r.Blocks == 0 || r.Start >= blocks || r.Blocks > blocks-r.Start {
				return bad("an extent has %d blocks from %d on; wanted some of %d", r.Blocks, r.Start, blocks)
			}
			for n := range r.Blocks {
				if written[r.Start+n] {
					return bad("block %d is written already", r.Start+n)
				}
			}
		}
		var writes size.Bytes
		for _, r := range o.to {
			for n := range r.Blocks {
				if written[r.Start+n] {
					return bad("it writes block %d twice", r.Start+n)
				}
				written[r.Start+n] = true
			}
			writes += bytesOf(r, c.Size)
		}
		switch {
		case o.kind == move && total(o.from) != total(o.to):
			return bad("it moves %d blocks to %d blocks", total(o.from), total(o.to))
		case o.kind == move && c.Size%blockSize != 0:
			return bad("a MOVE in %d B; wanted a multiple of %d B", c.Size, blockSize)
		case o.kind == move:
			continue
		case o.data.offset != offset:
			return bad("data_offset is %d; wanted %d, where the data before it ends", o.data.offset, offset)
		case o.sha256 == nil:
			return bad("no data_sha256_hash")
		case o.kind == replace && size.Bytes(o.data.length) != writes:
			return bad("data_length is %d B; wanted the %d B that it writes", o.data.length, writes)
		}
		for _, r := range o.to[:len(o.to)-1] {
			if bytesOf(r, c.Size) != size.Bytes(r.Blocks*blockSize) {
				return bad("the last block is not written last")
			}
		}
		offset = o.data.end()
	}
	return offset, nil
}

func total(runs []changes.Run) uint64 {
	var n uint64
	for _, r := range runs {
		n += r.Blocks
	}
	return n
}

// Apply makes of an old release what a delta leads to, as clients do: in copies of the old partition and the old kernel, one
// operation after the other, and then compares the digests of the results. Both files must be new. After an error, they must not be used.
//
// A block of the old partition may differ from what the delta was made from only where the delta replaces it.
func (p *Payload) Apply(ctx context.Context, from Installed, image, kernel *os.File) error {
	if !p.IsDelta() {
		return errors.New("this is a full update, which needs no old release; payload:verify with OUT writes what is in it")
	}
	if old, err := from.Kernel.content(ctx); err != nil || old != p.From {
		return errors.Join(err, fmt.Errorf("the old kernel has %d B, sha256 %v; this update is from one with %d B, sha256 %v",
			old.Size, old.SHA256, p.From.Size, p.From.SHA256))
	}
	if from.Image.Size < p.Image.Size {
		return fmt.Errorf("the old partition has %d B; wanted at least %d B", from.Image.Size, p.Image.Size)
	}
	from.Image.Size = p.Image.Size // a machine's partition may be longer
	if err := p.apply(ctx, "partition operation", p.manifest.partition, from.Image, p.Image, image); err != nil {
		return err
	}
	for _, procedure := range p.manifest.procedures {
		if procedure.kind != kernelProcedure {
			continue
		}
		if err := p.apply(ctx, "kernel operation", procedure.operations, from.Kernel, p.Kernel, kernel); err != nil {
			return err
		}
	}
	return nil
}

func (p *Payload) apply(ctx context.Context, name string, operations []operation, from Source, c Content, to *os.File) error {
	if _, err := sparse.Copy(to, withContext{ctx, io.NewSectionReader(from.Data, 0, int64(from.Size))}); err != nil {
		return fmt.Errorf("copy the old release: %w", err)
	}
	for i, o := range operations {
		if err := p.perform(ctx, o, c, to); err != nil {
			return mistake(o.at, "%s %d: %w", name, i, err)
		}
	}
	if err := to.Truncate(int64(c.Size)); err != nil {
		return err
	}
	got, err := Source{to, c.Size}.content(ctx)
	if err == nil && got != c {
		err = fmt.Errorf("%ss give sha256 %v; the manifest says %v: what they were applied to is not what this update is from", name, got.SHA256, c.SHA256)
	}
	return err
}

// perform does what an operation says, in a file.
func (p *Payload) perform(ctx context.Context, o operation, c Content, file *os.File) error {
	if o.kind != move {
		return p.unpack(ctx, o, int64(newGathered(Source{Size: c.Size}, o.to).size), &spread{to: file, runs: o.to})
	}
	from := newGathered(Source{file, c.Size}, o.from)
	blocks := make([]byte, from.size)
	if _, err := from.ReadAt(blocks, 0); err != nil {
		return err
	}
	_, err := (&spread{to: file, runs: o.to}).Write(blocks)
	return err
}

// spread writes to runs of blocks, one after the other.
type spread struct {
	to   io.WriterAt
	runs []changes.Run
	done uint64 // bytes of the first run
}

func (s *spread) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if len(s.runs) == 0 {
			return n, io.ErrShortWrite
		}
		part := p[n:min(uint64(len(p)), uint64(n)+s.runs[0].Blocks*blockSize-s.done)]
		if _, err := s.to.WriteAt(part, int64(s.runs[0].Start*blockSize+s.done)); err != nil {
			return n, err
		}
		n += len(part)
		if s.done += uint64(len(part)); s.done == s.runs[0].Blocks*blockSize {
			s.runs, s.done = s.runs[1:], 0
		}
	}
	return n, nil
}

// checkData checks the data of all operations of a delta.
func (p *Payload) checkData(ctx context.Context) error {
	check := func(name string, operations []operation, c Content) error {
		for i, o := range operations {
			if o.kind == move {
				continue
			}
			if err := p.unpack(ctx, o, int64(newGathered(Source{Size: c.Size}, o.to).size), io.Discard); err != nil {
				return mistake(p.data+int64(o.data.offset), "%s %d: %w", name, i, err)
			}
		}
		return nil
	}
	err := check("partition operation", p.manifest.partition, p.Image)
	for _, procedure := range p.manifest.procedures {
		if err == nil {
			err = check(procedure.name()+" operation", procedure.operations, procedure.content)
		}
	}
	return err
}
