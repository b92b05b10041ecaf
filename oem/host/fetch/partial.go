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
	// partialKept is how long a half file that nobody asks for is kept.
	partialKept = 7 * 24 * time.Hour
	// lockPoll is how often a waiting process looks whether a half file is free. There is no flock with a deadline.
	lockPoll = 50 * time.Millisecond
)

// partial is a half file that this process alone works on.
// The lock is the kernel's (flock), so it ends with the process, however it dies.
type partial struct {
	file *os.File
}

// lockPartial opens the half file of a digest, waiting while another process or goroutine has it.
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

// tryPartial opens and locks a half file. It returns nil when another one has it,
// or had it and renamed or removed it between our opening and our locking.
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

// isAt tells whether path still names this open file.
func isAt(file *os.File, path string) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}

// removeOld removes half files that were not written to for a week and that nobody has open.
// It is best effort: what stays costs only space.
func (s *Store) removeOld(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()) < partialKept {
			continue
		}
		if part, _ := tryPartial(filepath.Join(dir, entry.Name()), 0); part != nil {
			part.drop()
			part.release()
			s.log.Info("removed a half download that nobody continued", "path", part.file.Name())
		}
	}
}

// length is how much of the file is there.
func (p *partial) length() (int64, error) {
	return p.file.Seek(0, io.SeekEnd)
}

// restart forgets what is there.
func (p *partial) restart() error {
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.file.Truncate(0)
}

// finish makes the half file the stored one at path.
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

// drop removes the half file; the lock on it stays.
func (p *partial) drop() {
	if isAt(p.file, p.file.Name()) {
		os.Remove(p.file.Name())
	}
}

// release ends the lock. A half file that holds nothing yet is not worth keeping.
func (p *partial) release() {
	if length, err := p.length(); err == nil && length == 0 {
		p.drop()
	}
	p.file.Close() // nothing is lost: finish has synced, and a half file is checked before it is used
}
