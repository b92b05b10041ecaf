package ship

import (
	"bytes"
	"context"
	"errors"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// keptChunks compresses the chunks of payloads, and keeps what it made: most of a release's are those of the one before.
type keptChunks struct {
	compress func(ctx context.Context, chunks [][]byte) ([][]byte, error)
	by       any // what decides the result beside the chunk
	blobs    *store.Blobs
	results  *store.Results
}

// errNotKept says that a chunk has to be compressed.
var errNotKept = errors.New("not kept")

// Compress returns each chunk as one bzip2 stream.
func (c keptChunks) Compress(ctx context.Context, all [][]byte) ([][]byte, error) {
	made := make([][]byte, len(all))
	steps := make([]store.Step, len(all))
	var left [][]byte
	var at []int // indexes of what is left
	for i, chunk := range all {
		steps[i] = c.results.Step("chunk", []any{digest.Of(chunk), c.by})
		if made[i] = c.kept(steps[i]); made[i] == nil {
			left, at = append(left, chunk), append(at, i)
		}
	}
	compressed, err := c.compress(ctx, left)
	if err != nil {
		return nil, err
	}
	for n, i := range at {
		made[i] = compressed[n]
		if err := c.keep(steps[i], made[i]); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// kept returns what a chunk was compressed to, or nil.
func (c keptChunks) kept(s store.Step) []byte {
	one, err := store.Local(s, c.there, func() (manifest.Installed, error) { return manifest.Installed{}, errNotKept })
	if err != nil {
		return nil
	}
	var content bytes.Buffer
	if err := c.blobs.CopyTo(&content, one.SHA256); err != nil { // which compares the digest
		return nil
	}
	return content.Bytes()
}

func (c keptChunks) keep(s store.Step, content []byte) error {
	_, err := store.Local(s, c.there, func() (manifest.Installed, error) {
		d, n, err := c.blobs.Add(bytes.NewReader(content))
		return manifest.Installed{Size: size.Bytes(n), SHA256: d}, err
	})
	return err
}

func (c keptChunks) there(i manifest.Installed) bool { return c.blobs.Has(i.SHA256, int64(i.Size)) }
