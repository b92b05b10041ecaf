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

// The two parts, as remote build caches have them.
const (
	ActionCache Kind = "ac"  // results, under the digest of what they were made from
	Content     Kind = "cas" // blobs, under their own digest
)

// Remote is a cache that other machines share. What it hands out is not trusted but verified.
type Remote interface {
	// Get opens an entry. The error wraps fs.ErrNotExist where there is none.
	Get(ctx context.Context, kind Kind, key digest.SHA256) (io.ReadCloser, error)
	// Has tells whether there is an entry.
	Has(ctx context.Context, kind Kind, key digest.SHA256) (bool, error)
	// Put keeps what a file has as an entry.
	Put(ctx context.Context, kind Kind, key digest.SHA256, content *os.File, length int64) error
}

// OpenRemote returns the cache at an address (http: or https:, with user and password where it wants some) or in a directory.
func OpenRemote(place string) (Remote, error) {
	if strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://") {
		return openHTTP(place)
	}
	if strings.Contains(place, "://") {
		return nil, errors.New("wanted a directory, or an address of http or https")
	}
	return directory(filepath.Clean(place)), nil
}

// What a remote cache is used for. Larger blobs are partitions and disks with mostly nothing in them: they are made again
// faster than they are sent.
const (
	maxShared     = 512 << 20 // bytes of a blob
	maxResult     = 64 << 20  // bytes of a result; one of a tree with 10 000 files has 3 MB
	maxNamed      = 1 << 20   // blobs that a result names
	transfersEach = 16        // at a time
)

// Shared is the remote caches of a run. None of its methods fail: a cache that cannot be used is warned of once and then left alone,
// and what should have come from it is made here.
type Shared struct {
	read    []Remote // in this order
	write   Remote   // nil: nothing is written
	log     *slog.Logger
	noRead  atomic.Bool
	noWrite atomic.Bool
}

// OpenShared opens the caches in places to read from, and one to write to, if any; nil, which is of use as well, for none. What runs untrusted code must not have one to
// write to: who writes results decides what others take for them.
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

// fetch hands an entry of one of the caches to use, which refuses what is not right. It tells whether one was taken.
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
			s.log.Warn("the remote cache is not used any more", "entry", string(kind)+"/"+key.String(), "error", err)
		}
		return false
	}
	return false
}

// lacks tells whether a result is in none of the caches and should be put into one.
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
		return there && err == nil // an error shows again, and is warned of, when the result is written
	})
}

// share puts a result and what it names into the cache that is written to. The result comes last: who finds it finds the rest.
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
		s.log.Warn("nothing is written to the remote cache any more", "entry", string(ActionCache)+"/"+key.String(), "error", err)
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
	// What is damaged here must not be damaged elsewhere.
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

// result asks for a result of a key.
func (s *Shared) result(ctx context.Context, key digest.SHA256) (encoded []byte, ok bool) {
	ok = s.fetch(ctx, ActionCache, key, func(r io.Reader) error {
		content, err := io.ReadAll(io.LimitReader(r, maxResult+1))
		if err == nil && len(content) > maxResult {
			err = fmt.Errorf("a result has more than %d bytes", maxResult)
		}
		if err == nil {
			encoded, err = decodeAction(key, content)
		}
		return err
	})
	return encoded, ok
}

// complete tells whether all blobs are there, after it has asked the caches for those that are not.
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
