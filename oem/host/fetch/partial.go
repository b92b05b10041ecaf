package fetch

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

const (
	// partialKept is how long an unused partial file is kept.
	partialKept = 7 * 24 * time.Hour
	// lockPoll is how often a waiting process retries the lock; flock has no deadline.
	lockPoll = 50 * time.Millisecond
)

// partial is an unfinished download, locked by this process.
// The lock is a flock(2), so it ends with the process, even a killed one.
type partial struct {
	file *os.File
}

// lockPartial opens and locks the partial file of a digest, and waits while another process or goroutine holds it.
func (s *Store) lockPartial(ctx context.Context, d digest.SHA256) (*partial, error) {
	dir, err := s.makeDir("partial")
	if err != nil {
		return nil, err
	}
	s.sweep.Do(func() { s.removeOld(dir) })
	for {
		part, err := tryPartial(filepath.Join(dir, d.String()), os.O_CREATE)
		if part != nil || err != nil {
			return part, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// tryPartial opens and locks a partial file. It returns nil when another process holds it,
// or renamed or removed it between open and lock.
func tryPartial(path string, flag int) (*partial, error) {
	file, err := os.OpenFile(path, os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil && isAt(file, path) {
		return &partial{file}, nil
	}
	closeErr := file.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = nil
	}
	return nil, errors.Join(err, closeErr)
}

// isAt tells whether path still is this open file.
func isAt(file *os.File, path string) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}

// removeOld removes unlocked partial files that were not written to for a week.
// It is best effort: what remains only takes space.
func (s *Store) removeOld(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()).Abs() < partialKept {
			continue
		}
		if part, _ := tryPartial(filepath.Join(dir, entry.Name()), 0); part != nil {
			part.drop()
			part.release()
			s.log.Info("removed an abandoned partial download", "path", part.file.Name())
		}
	}
}

// length is the number of bytes received so far.
func (p *partial) length() (int64, error) {
	return p.file.Seek(0, io.SeekEnd)
}

// restart discards the content.
func (p *partial) restart() error {
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.file.Truncate(0)
}

// finish moves the partial file into the store at path.
func (p *partial) finish(path string) error {
	if err := p.file.Chmod(0o444); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.Rename(p.file.Name(), path)
}

// drop removes the partial file; the lock stays.
func (p *partial) drop() {
	if isAt(p.file, p.file.Name()) {
		os.Remove(p.file.Name())
	}
}

// release ends the lock, and removes the file if it is empty.
func (p *partial) release() {
	if length, err := p.length(); err == nil && length == 0 {
		p.drop()
	}
	p.file.Close() // errors are harmless: finish has synced, and a partial file is verified before use
}
