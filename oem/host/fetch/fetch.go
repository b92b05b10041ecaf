// Package fetch downloads files into a content-addressed store on disk: a file's name is its SHA-256 digest.
//
// No server is trusted: a file enters the store only with the requested digest, and is hashed again on every use.
// Interrupted downloads stay in partial/, locked by the process that works on them, and the next request for
// the digest resumes them.
//
//	sha256/DIGEST    finished files, read-only
//	partial/DIGEST   unfinished downloads; removed after a week without use
//	latest/DIGEST    copies of documents that change, such as a signed index; named by the digest of their address
//
// Addresses are http, https or file. Errors and logs never show user, password or query of an address, which may be secret.
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

// MaxUnknown is the limit for downloads of unknown length.
const MaxUnknown = 4 * size.GiB

// ErrNotFound is wrapped by errors about addresses without a file (HTTP status 404 or 410).
var ErrNotFound = errors.New("no such file there")

// Progress shows downloads to a person. Several may run at once.
type Progress interface {
	// Start announces a transfer; total is 0 when it is not known.
	// Every byte is written once, including those of an earlier transfer that this one resumes. Close ends it, complete or not.
	Start(name string, total size.Bytes) io.WriteCloser
}

// Store is a directory of downloaded files. Processes and goroutines may share one.
type Store struct {
	dir      string
	log      *slog.Logger
	progress Progress
	patient  *retryablehttp.Client
	hasty    *retryablehttp.Client // fewer retries, for documents with a kept copy to fall back to
	sweep    sync.Once
}

// New returns the store in dir, which is created with the first download. The progress may be nil.
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
	Fresh  bool       // download it even if it is stored: whether an address has it is what is asked
}

// limit is the largest length that the file may have.
func (w Want) limit() size.Bytes {
	if w.Size > 0 {
		return w.Size
	}
	return MaxUnknown
}

// File returns the path of the stored file with the wanted digest, and downloads it first if necessary.
// The file belongs to the store and must not be changed. Of concurrent requests for one digest,
// in this process or others, one downloads and the others wait.
func (s *Store) File(ctx context.Context, want Want) (string, error) {
	if want.SHA256.IsZero() {
		return "", fmt.Errorf("fetch %s: no sha256 digest is given", redactAll(want.URLs))
	}
	path := filepath.Join(s.dir, "sha256", want.SHA256.String())
	if ok, err := s.intact(path, want); !want.Fresh && ok || err != nil {
		return path, err
	}
	part, err := s.lockPartial(ctx, want.SHA256)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", redactAll(want.URLs), err)
	}
	defer part.release()
	// The previous lock holder may have finished the file. A damaged one may only be replaced under the lock.
	if ok, err := s.intact(path, want); !want.Fresh && ok || err != nil {
		return path, err
	}
	if err := s.download(ctx, part, want); err != nil {
		return "", fmt.Errorf("fetch sha256 %v: %w", want.SHA256, err)
	}
	return path, part.finish(path)
}

// intact tells whether the file at path has the wanted content.
func (s *Store) intact(path string, want Want) (bool, error) {
	got, length, err := digest.OfFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case got != want.SHA256:
		s.log.Warn("a stored file is damaged; fetching it again", "path", path, "sha256", got)
		return false, nil
	case want.Size > 0 && want.Size != size.Bytes(length):
		return false, fmt.Errorf("sha256 %v belongs to a file of %d bytes, not of %d: correct the length or the digest", want.SHA256, length, want.Size)
	}
	return true, nil
}

// download fills the partial file from the first address with the right content.
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

// makeDir creates one of the store's directories.
func (s *Store) makeDir(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}
