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
)

// Version is another one whenever Write makes other bytes of the same sources, for who keeps what it made.
const Version = 2

// Source is what a payload is made from.
type Source struct {
	Data io.ReaderAt
	Size size.Bytes
}

// Writer writes payloads.
type Writer struct {
	Compress func(ctx context.Context, chunks [][]byte) ([][]byte, error) // as bzip2 streams; see Compressor
	Scratch  string                                                       // a directory with room for the data of a payload
	Jobs     int                                                          // how much is compressed at a time
	Done     func(bytes int64)                                            // is told how much more of the sources was done; may be nil
}

// Written says what is in a body.
type Written struct {
	Image  Content
	Kernel Content // zero without a kernel
	Data   size.Bytes
}

// Write writes all of a payload but its signatures, which are for a key and go right behind it (see Signatures).
// An extension's payload has no kernel.
//
// The manifest stands before the data and says how long each part of it is, so the data waits in a file while
// it is made. To make it twice instead would cost another run of the compressor, which takes most of the time; to leave
// room for the manifest would need a field for padding, which the format does not have.
// Memory is bounded by Jobs, whatever the size of the image.
func (w *Writer) Write(ctx context.Context, out io.Writer, key *rsa.PublicKey, image Source, kernel *Source) (Written, error) {
	if image.Size <= 0 || image.Size%blockSize != 0 {
		return Written{}, fmt.Errorf("image has %d B; wanted a multiple of %d B", image.Size, blockSize)
	}
	data, err := os.CreateTemp(w.Scratch, "payload.")
	if err != nil {
		return Written{}, err
	}
	defer func() { data.Close(); os.Remove(data.Name()) }()
	m, err := w.writeData(ctx, data, image, kernel)
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
	if kernel != nil {
		written.Kernel = m.procedures[0].content
	}
	return written, err
}

func tooMuchData(s span) error {
	return fmt.Errorf("data would end at byte %d; wanted at most %d, as offsets have 32 bits", s.end(), uint64(maxData))
}

// writeData writes the data of all operations and returns the manifest, but for where the signatures are and the noops.
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

// blob is what became of a chunk.
type blob struct {
	kind   uint64
	bytes  []byte
	sha256 digest.SHA256
}

// batch is how many chunks are compressed by one call.
const batch = 8

// batched is what became of the chunks of one batch. Those that stay as they are lie in the buffer.
type batched struct {
	blobs  []blob
	buffer *buffer
}

type buffer [batch * chunkSize]byte

// add writes the data of one source, which begins at offset, and returns its operations and what it was.
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
					start: uint64(len(operations)) * chunkBlocks, blocks: chunkBlocks, sha256: b.sha256[:],
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

// batch reads the chunks of one batch into the buffer and makes them small.
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

// empty is what most chunks of a partition with free space are. To compare with it takes a tenth of what hashing does.
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

// remembered is what chunks became, by their digest, as long as that is tiny: free space mostly.
type remembered struct {
	mutex sync.Mutex
	blobs map[digest.SHA256]blob
}

// tiny bounds what is remembered of an image of 4 GiB to 16 MiB.
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

// inOrder works on 0 … n-1, several at a time, and hands the results to take in their order.
// No more than jobs+1 results are there at a time.
func inOrder[T any](ctx context.Context, jobs, n int, work func(context.Context, int) (T, error), take func(T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	results := make(chan chan T, max(jobs-1, 0)) // the one that take works on or waits for is in no channel
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

// withContext ends reading when the context ends.
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
