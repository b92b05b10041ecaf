package payload

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/payload/changes"
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
	Compress func(ctx context.Context, chunks [][]byte) ([][]byte, error) // as bzip2 streams; see Compressor
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

// blob is the data of a chunk, compressed or not.
type blob struct {
	kind   uint64
	bytes  []byte
	sha256 digest.SHA256
}

// batch is how many chunks are compressed by one call.
const batch = 8

// batched are the blobs of one batch. Uncompressed ones are in the buffer.
type batched struct {
	blobs  []blob
	buffer *buffer
}

type buffer [batch * chunkSize]byte

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
		chunks := int((source.Size + chunkSize - 1) / chunkSize)
		known := &remembered{blobs: map[digest.SHA256]blob{}}
		buffers := sync.Pool{New: func() any { return new(buffer) }}
		take := func(done batched) error {
			for _, b := range done.blobs {
				o := operation{
					kind: b.kind, data: span{offset, uint64(len(b.bytes))},
					to: []changes.Run{{Start: uint64(len(operations)) * chunkBlocks, Blocks: chunkBlocks}}, sha256: b.sha256[:],
				}
				if o.data.end() > maxData {
					return tooMuchData(o.data)
				}
				if _, err := data.Write(b.bytes); err != nil {
					return err
				}
				offset = o.data.end()
				operations = append(operations, o)
			}
			buffers.Put(done.buffer)
			return nil
		}
		return inOrder(ctx, w.Jobs, (chunks+batch-1)/batch, func(ctx context.Context, i int) (batched, error) {
			buffer := buffers.Get().(*buffer)
			blobs, err := w.batch(ctx, source, int64(i)*batch*chunkSize, buffer, known)
			return batched{blobs, buffer}, err
		}, take)
	})
	return operations, content, group.Wait()
}

// batch reads the chunks of one batch into the buffer and compresses them.
func (w *Writer) batch(ctx context.Context, source Source, offset int64, buffer *buffer, known *remembered) ([]blob, error) {
	read := buffer[:min(batch*chunkSize, int64(source.Size)-offset)]
	if n, err := source.Data.ReadAt(read, offset); n < len(read) {
		return nil, fmt.Errorf("read %d B at byte %d: %w", len(read), offset, err)
	}
	made := map[digest.SHA256]blob{}
	var sums, shrinkingSums []digest.SHA256
	var shrinking [][]byte
	for chunk := range slices.Chunk(read, chunkSize) {
		sum := sumOf(chunk)
		sums = append(sums, sum)
		if _, twice := made[sum]; twice {
			continue
		}
		b, found := known.get(sum)
		if !found {
			b = blob{replace, chunk, sum}
			if mayShrink(chunk) {
				shrinking, shrinkingSums = append(shrinking, chunk), append(shrinkingSums, sum)
			}
		}
		made[sum] = b
	}
	compressed, err := w.Compress(ctx, shrinking)
	if err != nil {
		return nil, err
	}
	for i, sum := range shrinkingSums {
		if c := compressed[i]; len(c) < len(shrinking[i]) {
			made[sum] = blob{replaceBzip2, c, digest.Of(c)}
			known.put(sum, made[sum])
		}
	}
	blobs := make([]blob, len(sums))
	for i, sum := range sums {
		blobs[i] = made[sum]
	}
	if w.Done != nil {
		w.Done(int64(len(read)))
	}
	return blobs, nil
}

// empty is a chunk of zeros, as most of free space is. Comparing takes a tenth of the time of hashing.
var empty = sync.OnceValues(func() ([]byte, digest.SHA256) {
	chunk := make([]byte, chunkSize)
	return chunk, digest.Of(chunk)
})

func sumOf(chunk []byte) digest.SHA256 {
	if zeros, sum := empty(); bytes.Equal(chunk, zeros) {
		return sum
	}
	return digest.Of(chunk)
}

// remembered caches tiny blobs by the digest of their chunk: mostly free space.
type remembered struct {
	mutex sync.Mutex
	blobs map[digest.SHA256]blob
}

// tiny limits the cache to 16 MiB for an image of 4 GiB.
const tiny = 4 << 10

func (r *remembered) get(chunk digest.SHA256) (blob, bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	b, found := r.blobs[chunk]
	return b, found
}

func (r *remembered) put(chunk digest.SHA256, b blob) {
	if len(b.bytes) > tiny {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.blobs[chunk] = b
}

// inOrder works on 0 … n-1 in parallel and passes the results to take in order. At most jobs+1 results exist at a time.
func inOrder[T any](ctx context.Context, jobs, n int, work func(context.Context, int) (T, error), take func(T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	results := make(chan chan T, max(jobs-1, 0)) // the result that take has or waits for is not in the channel
	group.Go(func() error {
		defer close(results)
		for i := range n {
			result := make(chan T, 1)
			select {
			case results <- result:
			case <-ctx.Done():
				return ctx.Err()
			}
			group.Go(func() error {
				made, err := work(ctx, i)
				if err == nil {
					result <- made
				}
				return err
			})
		}
		return nil
	})
	group.Go(func() error {
		for result := range results {
			select {
			case made := <-result:
				if err := take(made); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return group.Wait()
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
