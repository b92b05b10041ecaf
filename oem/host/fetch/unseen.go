package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Unseen names a file whose digest nobody has written down yet.
type Unseen struct {
	URLs []string                // tried in order
	Size size.Bytes              // 0 when not known
	Max  size.Bytes              // the limit when the size is not known; MaxUnknown when 0
	Also func(path string) error // what must hold for the content before it is kept; nil: nothing

	// Names the content without being its digest, such as the digest of its signature. With it, a download that was cut
	// goes on where it ended, also in a later run. Also must then prove the content.
	Key digest.SHA256
}

// Seen is what was found.
type Seen struct {
	Path   string // in the store, as File returns it
	SHA256 digest.SHA256
	Size   size.Bytes
}

// Learn downloads a file that is not known by its content, and returns its digest for File to be used from then on.
// Nothing proves that the content is what upstream meant but Also and the connection, so whoever calls this
// shows the digest to a person. Without a Key nothing is resumed: the halves of two answers may be of two files.
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
	part, err := s.unseenPart(ctx, want.Key)
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
			// The two halves may come from different files: once more, from the start.
		case !errors.Is(err, errCut):
			return Seen{}, err
		}
		if err := s.pause(ctx, attempt); err != nil {
			return Seen{}, err
		}
	}
}

// unseenPart returns the half file with a key, or a new one.
func (s *Store) unseenPart(ctx context.Context, key digest.SHA256) (*partial, error) {
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

// errUnproven is wrapped by errors about content that is complete and not what was wanted.
var errUnproven = errors.New("the content is not what was wanted")

func (s *Store) learnOnce(ctx context.Context, part *partial, address string, want Unseen, limit size.Bytes) (seen Seen, resumed bool, err error) {
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
	seen, err = s.receiveUnseen(part, offset, body, response.ContentLength, limit, name(address))
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

// receiveUnseen appends the body to the first offset bytes of the half file, up to one byte more than allowed.
func (s *Store) receiveUnseen(part *partial, offset int64, body io.Reader, announced int64, limit size.Bytes, name string) (Seen, error) {
	hash := sha256.New()
	count := io.Writer(hash)
	if s.progress != nil {
		bar := s.progress.Start(name, size.Bytes(max(0, offset+announced)))
		defer bar.Close()
		count = io.MultiWriter(hash, bar)
	}
	var err error
	if offset == 0 {
		err = part.restart()
	} else {
		_, err = io.Copy(count, io.NewSectionReader(part.file, 0, offset))
	}
	if err != nil {
		return Seen{}, err
	}
	received, err := io.Copy(io.MultiWriter(part.file, count), io.LimitReader(body, int64(limit)-offset+1))
	if err != nil {
		return Seen{}, fmt.Errorf("after %d bytes: %w", offset+received, err)
	}
	return Seen{SHA256: digest.SHA256(hash.Sum(nil)), Size: size.Bytes(offset + received)}, nil
}
