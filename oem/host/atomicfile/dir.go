package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockSuffix is appended to a directory's name for its lock file, whose modification time is that of the last use.
const lockSuffix = ".lock"

// IsLock tells whether a file is a directory's lock.
func IsLock(path string) bool { return filepath.Ext(path) == lockSuffix }

// LastUse returns when Dir last made or found a directory.
func LastUse(path string) (time.Time, error) {
	info, err := os.Stat(path + lockSuffix)
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// Dir makes the directory with fill, unless it exists. Of several processes that want the same directory,
// one makes it and the others wait. What a killed process left unfinished is removed.
func Dir(path string, fill func(temp string) error) error {
	lock, err := os.OpenFile(path+lockSuffix, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close() // and with it the lock, as when the process dies
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	now := time.Now()
	if err := os.Chtimes(lock.Name(), now, now); err != nil {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.Mkdir(temp, 0o755); err != nil {
		return err
	}
	if err := fill(temp); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return os.Rename(temp, path)
}
