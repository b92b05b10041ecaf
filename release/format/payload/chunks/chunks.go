// Package chunks cuts content into chunks of 1 MiB for the operations of a payload, and compresses those that get smaller.
//
// In goes content of a known size, out come its chunks in order, each with its digest. Memory is bounded by the number of jobs.
// Content is trusted; that it ends early is an error.
package chunks

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Size is the size of a chunk, the output of one operation. Clients accept any; official payloads use 1 MiB.
const Size = 1 << 20

// Chunk is a chunk as it is in a payload.
type Chunk struct {
	Compressed bool // as one bzip2 stream
	Bytes      []byte
	SHA256     digest.SHA256 // of Bytes
}

// Cutter cuts and compresses.
type Cutter struct {
	Compress func(ctx context.Context, chunks [][]byte) ([][]byte, error) // as bzip2 streams; see Compressor
	Jobs     int                                                          // number of parallel compressions
	Done     func(bytes int64)                                            // called with the number of processed bytes; may be nil
}

// batch is how many chunks are compressed by one call.
const batch = 8

// batched are the chunks of one batch. Uncompressed ones are in the buffer.
type batched struct {
	chunks []Chunk
	buffer *buffer
}

type buffer [batch * Size]byte

// Each passes all chunks of content to take, in order. Their bytes are only valid until take returns.
func (c Cutter) Each(ctx context.Context, content io.ReaderAt, length size.Bytes, take func(Chunk) error) error {
	known := &remembered{chunks: map[digest.SHA256]Chunk{}}
	buffers := sync.Pool{New: func() any { return new(buffer) }}
	return inOrder(ctx, c.Jobs, int((length+batch*Size-1)/(batch*Size)), func(ctx context.Context, i int) (batched, error) {
		buffer := buffers.Get().(*buffer)
		offset := int64(i) * batch * Size
		chunks, err := c.batch(ctx, io.NewSectionReader(content, offset, int64(length)-offset), buffer, known)
		return batched{chunks, buffer}, err
	}, func(done batched) error {
		for _, chunk := range done.chunks {
			if err := take(chunk); err != nil {
				return err
			}
		}
		buffers.Put(done.buffer)
		return nil
	})
}

// batch reads the chunks at the beginning of what is left into the buffer, and compresses them.
func (c Cutter) batch(ctx context.Context, left *io.SectionReader, buffer *buffer, known *remembered) ([]Chunk, error) {
	read := buffer[:min(batch*Size, left.Size())]
	if n, err := left.ReadAt(read, 0); n < len(read) {
		_, offset, _ := left.Outer()
		return nil, fmt.Errorf("read %d B at byte %d: %w", len(read), offset, err)
	}
	made := map[digest.SHA256]Chunk{}
	var sums, shrinkingSums []digest.SHA256
	var shrinking [][]byte
	for content := range slices.Chunk(read, Size) {
		sum := sumOf(content)
		sums = append(sums, sum)
		if _, twice := made[sum]; twice {
			continue
		}
		chunk, found := known.get(sum)
		if !found {
			chunk = Chunk{Bytes: content, SHA256: sum}
			if mayShrink(content) {
				shrinking, shrinkingSums = append(shrinking, content), append(shrinkingSums, sum)
			}
		}
		made[sum] = chunk
	}
	compressed, err := c.Compress(ctx, shrinking)
	if err != nil {
		return nil, err
	}
	for i, sum := range shrinkingSums {
		if got := compressed[i]; len(got) < len(shrinking[i]) {
			made[sum] = Chunk{Compressed: true, Bytes: got, SHA256: digest.Of(got)}
			known.put(sum, made[sum])
		}
	}
	chunks := make([]Chunk, len(sums))
	for i, sum := range sums {
		chunks[i] = made[sum]
	}
	if c.Done != nil {
		c.Done(int64(len(read)))
	}
	return chunks, nil
}

// empty is a chunk of zeros, as most of free space is. Comparing takes a tenth of the time of hashing.
var empty = sync.OnceValues(func() ([]byte, digest.SHA256) {
	chunk := make([]byte, Size)
	return chunk, digest.Of(chunk)
})

func sumOf(chunk []byte) digest.SHA256 {
	if zeros, sum := empty(); bytes.Equal(chunk, zeros) {
		return sum
	}
	return digest.Of(chunk)
}

// remembered caches tiny chunks by the digest of their content: mostly free space.
type remembered struct {
	mutex  sync.Mutex
	chunks map[digest.SHA256]Chunk
}

// tiny limits the cache to 16 MiB for an image of 4 GiB.
const tiny = 4 << 10

func (r *remembered) get(content digest.SHA256) (Chunk, bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	c, found := r.chunks[content]
	return c, found
}

func (r *remembered) put(content digest.SHA256, c Chunk) {
	if len(c.Bytes) > tiny {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.chunks[content] = c
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
