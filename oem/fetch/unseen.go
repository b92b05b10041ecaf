package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/digest"
	"github.com/flatcar/oem-sysext/oem/size"
)

// Unseen names a file whose digest nobody has written down yet.
type Unseen struct {
	URLs []string                // tried in order
	Size size.Bytes              // 0 when not known
	Max  size.Bytes              // the limit when the size is not known; MaxUnknown when 0
	Also func(path string) error // what must hold for the content before it is kept; nil: nothing
}

// Seen is what was found.
type Seen struct {
	Path   string // in the store, as File returns it
	SHA256 digest.SHA256
	Size   size.Bytes
}

// Learn downloads a file that is not known by its content, and returns its digest for File to be used from then on.
// Nothing proves that the content is what upstream meant but Also and the connection, so whoever calls this
// shows the digest to a person. Nothing is resumed: the halves of two answers may be of two files.
func (s *Store) Learn(ctx context.Context, want Unseen) (Seen, error) {
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

// learn asks one address, again when the answer is cut.
func (s *Store) learn(ctx context.Context, address string, want Unseen, limit size.Bytes) (Seen, error) {
	dir, err := s.makeDir("partial")
	if err != nil {
		return Seen{}, err
	}
	file, err := os.CreateTemp(dir, "unseen.*")
	if err != nil {
		return Seen{}, err
	}
	part := &partial{file}
	defer func() { part.drop(); part.release() }()
	for attempt := 1; ; attempt++ {
		seen, err := s.learnOnce(ctx, part, address, want, limit)
		if err == nil {
			return seen, nil
		}
		if !errors.Is(err, errCut) || ctx.Err() != nil || attempt == cutAttempts {
			return Seen{}, err
		}
		if err := s.pause(ctx, attempt); err != nil {
			return Seen{}, err
		}
	}
}

func (s *Store) learnOnce(ctx context.Context, part *partial, address string, want Unseen, limit size.Bytes) (Seen, error) {
	if err := part.restart(); err != nil {
		return Seen{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, err := s.get(ctx, s.patient, address, http.Header{})
	if err != nil {
		return Seen{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Seen{}, statusError(response)
	}
	body := newStallReader(ctx, response.Body, cancel)
	defer body.stop()
	hash := sha256.New()
	received, err := io.Copy(io.MultiWriter(part.file, hash), io.LimitReader(body, int64(limit)+1))
	switch length := size.Bytes(received); {
	case err != nil:
		return Seen{}, fmt.Errorf("after %d bytes: %w", received, err)
	case length > limit && want.Size > 0, want.Size > 0 && length < want.Size:
		return Seen{}, fmt.Errorf("%w: the server has %d bytes or more, wanted %d", errMismatch, length, want.Size)
	case length > limit:
		return Seen{}, fmt.Errorf("more than %v", limit)
	}
	if want.Also != nil {
		if err := want.Also(part.file.Name()); err != nil {
			return Seen{}, err
		}
	}
	seen := Seen{SHA256: digest.SHA256(hash.Sum(nil)), Size: size.Bytes(received)}
	seen.Path = filepath.Join(s.dir, "sha256", seen.SHA256.String())
	return seen, part.finish(seen.Path)
}
