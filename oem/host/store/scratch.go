package store

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Scratch is a directory for one run's unfinished work.
type Scratch struct {
	Dir  string
	lock *os.File
}

// OpenScratch creates a directory for this run below dir, and removes those of killed runs.
func OpenScratch(dir string) (*Scratch, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	runs, err := filepath.Glob(filepath.Join(dir, "run.*"))
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		if err := removeDead(run); err != nil {
			return nil, err
		}
	}
	own, err := os.MkdirTemp(dir, "run.")
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(own)
	return &Scratch{own, lock}, err
}

// Close removes the directory.
func (s *Scratch) Close() error { return errors.Join(os.RemoveAll(s.Dir), s.lock.Close()) }

// lockDir locks a directory until the returned file is closed, at the latest when the process dies.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// removeDead removes the directory of a run that no longer holds its lock.
func removeDead(run string) error {
	lock, err := lockDir(run)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return os.RemoveAll(run)
}
