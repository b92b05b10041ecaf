package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Kind is one of the two parts of a remote cache, by its name in paths.
type Kind string

// The two parts of a remote build cache.
const (
	ActionCache Kind = "ac"  // results, under the digest of their inputs
	Content     Kind = "cas" // blobs, under their own digest
)

// Remote is a cache shared between machines. Its entries are not trusted; the caller verifies them.
type Remote interface {
	// Get opens an entry. The error wraps fs.ErrNotExist where there is none.
	Get(ctx context.Context, kind Kind, key digest.SHA256) (io.ReadCloser, error)
	// Has tells whether an entry exists.
	Has(ctx context.Context, kind Kind, key digest.SHA256) (bool, error)
	// Put stores the content of a file as an entry.
	Put(ctx context.Context, kind Kind, key digest.SHA256, content *os.File, length int64) error
}

// insecure before an address of http says that everybody on the way may write to the cache.
const insecure = "insecure+"

// OpenRemote returns the cache at an address (https: with user and password if required, or http: on this machine; insecure+http: elsewhere) or in a directory.
func OpenRemote(place string) (Remote, error) {
	address, trusted := strings.CutPrefix(place, insecure)
	if strings.HasPrefix(address, "http://") || strings.HasPrefix(address, "https://") {
		return openHTTP(address, trusted)
	}
	if strings.Contains(place, "://") {
		return nil, errors.New("wanted a directory, or an address of http or https")
	}
	return directory(filepath.Clean(place)), nil
}

// Limits of what is shared. Larger blobs are mostly empty partitions and disks, which are faster to rebuild than to transfer.
const (
	maxShared     = 512 << 20 // bytes of a blob
	maxResult     = 64 << 20  // bytes of a result; one of a tree with 10 000 files has 3 MB
	maxNamed      = 1 << 20   // blobs named by a result
	transfersEach = 16        // concurrent transfers
)

// Shared are the remote caches of a run. Its methods never fail: the first failure of a cache is logged, the cache is then
// no longer used, and what it would have provided is made locally. All methods work on nil, which is no cache.
type Shared struct {
	read    []Remote // in this order
	write   Remote   // nil: nothing is written
	log     *slog.Logger
	noRead  atomic.Bool
	noWrite atomic.Bool
}

// OpenShared opens the caches to read from, in order, and the one to write to. Without any it returns nil, whose methods
// do nothing. Runs of untrusted code must not write: a writer decides what other machines take for a step's result.
func OpenShared(read []string, write string, log *slog.Logger) (*Shared, error) {
	if len(read) == 0 && write == "" {
		return nil, nil
	}
	s := &Shared{log: log}
	for _, place := range read {
		r, err := OpenRemote(place)
		if err != nil {
			return nil, err
		}
		s.read = append(s.read, r)
	}
	if write == "" {
		return s, nil
	}
	var err error
	s.write, err = OpenRemote(write)
	return s, err
}

// fetch passes entries from the caches to use until it accepts one; use verifies them. It returns whether one was accepted.
func (s *Shared) fetch(ctx context.Context, kind Kind, key digest.SHA256, use func(io.Reader) error) bool {
	if s == nil || s.noRead.Load() {
		return false
	}
	for _, r := range s.read {
		content, err := r.Get(ctx, kind, key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = use(content)
			content.Close()
		}
		if err == nil {
			return true
		}
		if ctx.Err() == nil && !s.noRead.Swap(true) {
			s.log.Warn("a remote cache failed; no longer reading from it", "entry", string(kind)+"/"+key.String(), "error", err)
		}
		return false
	}
	return false
}

// lacks tells whether a result should be written to the remote cache, because no cache has it.
func (s *Shared) lacks(ctx context.Context, key digest.SHA256) bool {
	if s == nil || s.write == nil || s.noWrite.Load() {
		return false
	}
	caches := []Remote{s.write}
	if !s.noRead.Load() {
		caches = append(caches, s.read...)
	}
	return !slices.ContainsFunc(caches, func(r Remote) bool {
		there, err := r.Has(ctx, ActionCache, key)
		return there && err == nil // an error will recur, and be logged, when the result is written
	})
}

// share writes a result and its blobs to the remote cache. The result comes last, so that a reader who finds it finds all blobs.
func (s *Shared) share(ctx context.Context, blobs *Blobs, key digest.SHA256, result []byte, named []Blob) {
	if !shareable(named) {
		return
	}
	group, upload := errgroup.WithContext(ctx)
	group.SetLimit(transfersEach)
	for _, b := range named {
		group.Go(func() error { return s.putBlob(upload, blobs, b) })
	}
	err := group.Wait()
	if err == nil {
		err = s.putBytes(ctx, blobs.scratch, key, encodeAction(key, result, named))
	}
	if err != nil && ctx.Err() == nil && !s.noWrite.Swap(true) {
		s.log.Warn("the remote cache failed; no longer writing to it", "entry", string(ActionCache)+"/"+key.String(), "error", err)
	}
}

func shareable(named []Blob) bool {
	for _, b := range named {
		if b.Size > maxShared {
			return false
		}
	}
	return len(named) <= maxNamed
}

func (s *Shared) putBlob(ctx context.Context, blobs *Blobs, b Blob) error {
	if there, err := s.write.Has(ctx, Content, b.SHA256); there || err != nil {
		return err
	}
	f, err := os.Open(blobs.Path(b.SHA256))
	if err != nil {
		return err
	}
	defer f.Close()
	// Do not spread local damage.
	if got, _, err := digest.OfReader(f); err != nil || got != b.SHA256 {
		return errors.Join(err, fmt.Errorf("%s is damaged", f.Name()))
	}
	return s.write.Put(ctx, Content, b.SHA256, f, b.Size)
}

func (s *Shared) putBytes(ctx context.Context, scratch string, key digest.SHA256, content []byte) error {
	f, err := os.CreateTemp(scratch, "result.")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return s.write.Put(ctx, ActionCache, key, f, int64(len(content)))
}

// result returns the result of a key from the caches.
func (s *Shared) result(ctx context.Context, key digest.SHA256) (encoded []byte, ok bool) {
	ok = s.fetch(ctx, ActionCache, key, func(r io.Reader) error {
		content, err := io.ReadAll(io.LimitReader(r, maxResult+1))
		if err == nil && len(content) > maxResult {
			err = fmt.Errorf("the result has more than %d bytes", maxResult)
		}
		if err == nil {
			encoded, err = decodeAction(key, content)
		}
		return err
	})
	return encoded, ok
}

// complete fetches missing blobs from the caches, and returns whether all are available then.
func (s *Shared) complete(ctx context.Context, blobs *Blobs, named []Blob) bool {
	var missing []Blob
	for _, b := range named {
		if !blobs.Has(b.SHA256, b.Size) {
			missing = append(missing, b)
		}
	}
	if len(missing) == 0 {
		return true
	}
	if !shareable(missing) {
		return false
	}
	var lacking atomic.Bool
	var group errgroup.Group
	group.SetLimit(transfersEach)
	for _, b := range missing {
		group.Go(func() error {
			if !lacking.Load() && !s.fetch(ctx, Content, b.SHA256, func(r io.Reader) error { return blobs.take(r, b) }) {
				lacking.Store(true)
			}
			return nil
		})
	}
	_ = group.Wait()
	return !lacking.Load()
}
