package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Unpinned is a download without a known digest.
type Unpinned struct {
	URLs []string                // tried in order
	Size size.Bytes              // 0 when not known
	Max  size.Bytes              // limit when the size is not known; MaxUnknown when 0
	Also func(path string) error // checks the content before it is stored, such as a signature; may be nil

	// Key identifies the content without being its digest, such as the digest of its signature. With a key, interrupted
	// downloads resume, in later runs too; Also must then verify the content.
	Key digest.SHA256
}

// Seen is a finished download and its digest.
type Seen struct {
	Path   string // in the store, as File returns it
	SHA256 digest.SHA256
	Size   size.Bytes
}

// Learn downloads a file without a known digest and returns the digest, to be pinned and passed to File from then on.
// Only the connection and Also vouch for the content, so the caller has a person review the digest.
// Without a Key nothing is resumed: the parts of two answers may belong to different files.
func (s *Store) Learn(ctx context.Context, want Unpinned) (Seen, error) {
	limit := MaxUnknown
	if want.Max > 0 {
		limit = want.Max
	}
	if want.Size > 0 {
		limit = want.Size
	}
	var failures []error
	for _, address := range want.URLs {
		seen, err := s.learn(ctx, address, want, limit)
		if err == nil {
			return seen, nil
		}
		failures = append(failures, fmt.Errorf("fetch %s: %w", Redact(address), err))
		if ctx.Err() != nil {
			break
		}
	}
	return Seen{}, errors.Join(failures...)
}

// learn downloads from one address, and retries interrupted transfers.
func (s *Store) learn(ctx context.Context, address string, want Unpinned, limit size.Bytes) (Seen, error) {
	part, err := s.unpinnedPart(ctx, want.Key)
	if err != nil {
		return Seen{}, err
	}
	defer part.release()
	if want.Key.IsZero() {
		defer part.drop()
	}
	for attempt := 1; ; attempt++ {
		seen, resumed, err := s.learnOnce(ctx, part, address, want, limit)
		switch {
		case err == nil || ctx.Err() != nil || attempt == cutAttempts:
			return seen, err
		case errors.Is(err, errUnproven) && resumed:
			// The two parts may come from different files: retry from the start.
		case !errors.Is(err, errCut):
			return Seen{}, err
		}
		if err := s.pause(ctx, attempt); err != nil {
			return Seen{}, err
		}
	}
}

// unpinnedPart returns the partial file of a key, or without a key a new one.
func (s *Store) unpinnedPart(ctx context.Context, key digest.SHA256) (*partial, error) {
	if !key.IsZero() {
		return s.lockPartial(ctx, key)
	}
	dir, err := s.makeDir("partial")
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(dir, "unseen.*")
	return &partial{file}, err
}

// errUnproven is wrapped by errors about complete content that Also refused.
var errUnproven = errors.New("verification failed")

func (s *Store) learnOnce(ctx context.Context, part *partial, address string, want Unpinned, limit size.Bytes) (seen Seen, resumed bool, err error) {
	var offset int64
	if !want.Key.IsZero() {
		if offset, err = part.length(); err != nil {
			return Seen{}, false, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, offset, err := s.goOn(ctx, part, address, offset)
	if err != nil {
		return Seen{}, offset > 0, err
	}
	defer response.Body.Close()
	body := newStallReader(ctx, response.Body, cancel)
	defer body.stop()
	in := incoming{name(address), offset, response.ContentLength, body}
	seen.SHA256, seen.Size, err = s.appendTo(part, in, size.Bytes(max(0, offset+in.announced)), limit)
	switch {
	case err != nil:
		return Seen{}, offset > 0, err
	case seen.Size > limit && want.Size > 0, want.Size > 0 && seen.Size < want.Size:
		err = fmt.Errorf("%w: the server has %d bytes or more, wanted %d", errMismatch, seen.Size, want.Size)
	case seen.Size > limit:
		err = fmt.Errorf("more than %v", limit)
	case want.Also != nil:
		if err = want.Also(part.file.Name()); err != nil {
			err = fmt.Errorf("%w: %w", errUnproven, err)
		}
	}
	if err != nil {
		return Seen{}, offset > 0, errors.Join(err, part.restart())
	}
	seen.Path = filepath.Join(s.dir, "sha256", seen.SHA256.String())
	return seen, false, part.finish(seen.Path)
}
