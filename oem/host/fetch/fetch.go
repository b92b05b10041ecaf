// Package fetch downloads files into a store on disk in which a file's name is its SHA-256 digest.
//
// Nothing is trusted for where it came from: a file is in the store only after its content had the digest
// that was asked for, and it is hashed again each time it is handed out. A download that a cut connection
// or a killed process left half done lies in partial/, locked by the process that works on it, and the next
// request for that digest goes on from there.
//
//	sha256/DIGEST    finished files, read-only
//	partial/DIGEST   half files; unused for a week, they are removed
//	latest/DIGEST    kept copies of documents that change, such as a signed index; named by their address
//
// Addresses are http, https or file. What an address carries as user, password or query never
// shows in an error or a log line, since tokens travel there.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// MaxUnknown is how much is downloaded at most when the length is not known beforehand.
const MaxUnknown = 4 * size.GiB

// ErrNotFound is wrapped by errors that say that an address has no file (HTTP status 404 or 410).
var ErrNotFound = errors.New("no such file there")

// Progress shows downloads to a person. Several may run at once.
type Progress interface {
	// Start announces a transfer; total is 0 when it is not known.
	// Each byte received, now or in the cut transfer that this one continues, is written once; Close ends it, complete or not.
	Start(name string, total size.Bytes) io.WriteCloser
}

// Store is a directory of downloaded files. Processes and goroutines may share one.
type Store struct {
	dir      string
	log      *slog.Logger
	progress Progress
	patient  *retryablehttp.Client
	hasty    *retryablehttp.Client // for when there is a kept copy to fall back to
	sweep    sync.Once
}

// New returns the store in dir, which is made when the first file is fetched. The progress may be nil.
func New(dir string, log *slog.Logger, progress Progress) *Store {
	transport := newTransport()
	return &Store{
		dir:      dir,
		log:      log,
		progress: progress,
		patient:  newClient(transport, log, 4),
		hasty:    newClient(transport, log, 1),
	}
}

// Want names one file by its content.
type Want struct {
	URLs   []string // tried in order
	SHA256 digest.SHA256
	Size   size.Bytes // 0 when not known; then MaxUnknown is the limit
}

// limit is how many bytes the file may have.
func (w Want) limit() size.Bytes {
	if w.Size > 0 {
		return w.Size
	}
	return MaxUnknown
}

// File returns the path of a stored file with the content wanted, downloading it unless it is there.
// The file belongs to the store and must not be changed. Of several requests for one digest at a time,
// in this process or others, one downloads and the others wait for it.
func (s *Store) File(ctx context.Context, want Want) (string, error) {
	if want.SHA256.IsZero() {
		return "", fmt.Errorf("fetch %s: no sha256 digest is given", redactAll(want.URLs))
	}
	path := filepath.Join(s.dir, "sha256", want.SHA256.String())
	if ok, err := s.intact(path, want); ok || err != nil {
		return path, err
	}
	part, err := s.lockPartial(ctx, want.SHA256)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", redactAll(want.URLs), err)
	}
	defer part.release()
	// Whoever had the lock before us may have finished the file. Only with the lock may a damaged one be replaced.
	if ok, err := s.intact(path, want); ok || err != nil {
		return path, err
	}
	if err := s.download(ctx, part, want); err != nil {
		return "", fmt.Errorf("fetch sha256 %v: %w", want.SHA256, err)
	}
	return path, part.finish(path)
}

// intact tells whether the file at path has the content wanted.
func (s *Store) intact(path string, want Want) (bool, error) {
	got, length, err := digest.OfFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case got != want.SHA256:
		s.log.Warn("a stored file is damaged and is fetched again", "path", path, "sha256", got)
		return false, nil
	case want.Size > 0 && want.Size != size.Bytes(length):
		return false, fmt.Errorf("sha256 %v belongs to a file of %d bytes, not of %d: correct the length or the digest", want.SHA256, length, want.Size)
	}
	return true, nil
}

// download fills the half file from the first address that has the right content.
func (s *Store) download(ctx context.Context, part *partial, want Want) error {
	if len(want.URLs) == 0 {
		return errors.New("not in the store, and no address is given")
	}
	var failures []error
	for _, address := range want.URLs {
		err := s.transfer(ctx, part, address, want)
		if err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", Redact(address), err))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failures...)
}

// makeDir makes one of the store's directories.
func (s *Store) makeDir(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}
