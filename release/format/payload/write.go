package payload

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/payload/changes"
	"github.com/flatcar/oem-sysext/release/format/payload/chunks"
)

// Version changes whenever Write's output changes; cache keys contain it.
const Version = 2

// Source is an input of a payload: an image or a kernel.
type Source struct {
	Data io.ReaderAt
	Size size.Bytes
}

// Writer writes payloads.
type Writer struct {
	Compress func(ctx context.Context, chunks [][]byte) ([][]byte, error) // as bzip2 streams; see chunks.Compressor
	Scratch  string                                                       // a directory with room for the payload's data
	Jobs     int                                                          // number of parallel compressions
	Done     func(bytes int64)                                            // called with the number of processed bytes; may be nil
}

// Written describes a body.
type Written struct {
	Image  Content
	Kernel Content // zero without a kernel
	Data   size.Bytes
}

// Write writes a payload without its signatures, which depend on the key and follow right behind (see Signatures).
// An extension's payload has no kernel.
//
// The manifest precedes the data and contains the length of each part, so the data is first written to a temporary file.
// Compressing twice instead would nearly double the time, and the format has no padding to reserve room for the manifest.
// Memory is bounded by Jobs, independent of the image's size.
func (w *Writer) Write(ctx context.Context, out io.Writer, key *rsa.PublicKey, image Source, kernel *Source) (Written, error) {
	if image.Size <= 0 || image.Size%blockSize != 0 {
		return Written{}, fmt.Errorf("image has %d B; wanted a multiple of %d B", image.Size, blockSize)
	}
	return w.write(out, key, func(data io.Writer) (*manifest, error) { return w.writeData(ctx, data, image, kernel) })
}

// write has the data written to a temporary file, and then writes the payload.
func (w *Writer) write(out io.Writer, key *rsa.PublicKey, writeData func(io.Writer) (*manifest, error)) (Written, error) {
	data, err := os.CreateTemp(w.Scratch, "payload.")
	if err != nil {
		return Written{}, err
	}
	defer func() { data.Close(); os.Remove(data.Name()) }()
	m, err := writeData(data)
	if err != nil {
		return Written{}, err
	}
	m.signatures.length = uint64(signaturesSize(key))
	if m.signatures.end() > maxData {
		return Written{}, tooMuchData(m.signatures)
	}
	m.noops = m.wantedNoops()
	encoded := m.encode()
	if len(encoded) > maxManifest {
		return Written{}, fmt.Errorf("manifest has %d B; wanted at most %d B", len(encoded), maxManifest)
	}
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return Written{}, err
	}
	for _, part := range [][]byte{header(len(encoded)), encoded} {
		if _, err := out.Write(part); err != nil {
			return Written{}, err
		}
	}
	n, err := io.Copy(out, data)
	if err == nil && uint64(n) != m.signatures.offset {
		err = fmt.Errorf("%s has %d B; wrote %d B", data.Name(), n, m.signatures.offset)
	}
	written := Written{Image: m.newPartition, Data: size.Bytes(n)}
	if len(m.procedures) > 0 {
		written.Kernel = m.procedures[0].content
	}
	return written, err
}

func tooMuchData(s span) error {
	return fmt.Errorf("data would end at byte %d; wanted at most %d, as offsets have 32 bits", s.end(), uint64(maxData))
}

// writeData writes the data of all operations and returns the manifest without noops and the position of the signatures.
func (w *Writer) writeData(ctx context.Context, data io.Writer, image Source, kernel *Source) (*manifest, error) {
	var m manifest
	var err error
	if m.partition, m.newPartition, err = w.add(ctx, data, image, 0); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	m.signatures.offset = m.partition[len(m.partition)-1].data.end()
	if kernel == nil {
		return &m, nil
	}
	if kernel.Size <= 0 {
		return nil, errors.New("kernel is empty")
	}
	p := procedure{kind: kernelProcedure}
	if p.operations, p.content, err = w.add(ctx, data, *kernel, m.signatures.offset); err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	m.procedures = append(m.procedures, p)
	m.signatures.offset = p.operations[len(p.operations)-1].data.end()
	return &m, nil
}

// add writes the data of one source from offset on, and returns its operations and its content.
func (w *Writer) add(ctx context.Context, data io.Writer, source Source, offset uint64) (operations []operation, content Content, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		sum, n, err := digest.OfReader(withContext{ctx, io.NewSectionReader(source.Data, 0, int64(source.Size))})
		content = Content{size.Bytes(n), sum}
		if err == nil && content.Size != source.Size {
			err = fmt.Errorf("has %d B; wanted %d B: %w", n, source.Size, io.ErrUnexpectedEOF)
		}
		return err
	})
	group.Go(func() error {
		cut := chunks.Cutter{Compress: w.Compress, Jobs: w.Jobs, Done: w.Done}
		return cut.Each(ctx, source.Data, source.Size, func(c chunks.Chunk) error {
			o := operation{
				kind: replace, data: span{offset, uint64(len(c.Bytes))},
				to: []changes.Run{{Start: uint64(len(operations)) * chunkBlocks, Blocks: chunkBlocks}}, sha256: c.SHA256[:],
			}
			if c.Compressed {
				o.kind = replaceBzip2
			}
			if o.data.end() > maxData {
				return tooMuchData(o.data)
			}
			if _, err := data.Write(c.Bytes); err != nil {
				return err
			}
			offset = o.data.end()
			operations = append(operations, o)
			return nil
		})
	})
	return operations, content, group.Wait()
}

// withContext stops reading when the context ends.
type withContext struct {
	context.Context
	io.Reader
}

func (r withContext) Read(p []byte) (int, error) {
	if err := r.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
