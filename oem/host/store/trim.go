package store

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Cache is the directory with the blobs, results and directories of all runs.
type Cache struct {
	dir  string
	lock *os.File
}

// OpenCache opens a cache directory, and creates it if necessary. While it is open, no other run trims it.
func OpenCache(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Cache{dir, lock}, nil
}

// Close lets others trim the cache.
func (c *Cache) Close() error { return c.lock.Close() }

// trimmed is a file whose modification time is that of the last trimming.
const (
	trimmed = "trimmed"
	pause   = time.Hour
)

// entry is the unit of removal: a file, or a directory that atomicfile.Dir made.
type entry struct {
	path  string
	isDir bool
	used  time.Time // last
	size  size.Bytes
}

// Trim removes the least recently used entries that match patterns until the rest takes no more disk space than the limit,
// and returns the space freed. Nothing is removed while another run has the cache open, since it may be about to read.
// Directories are first moved to the scratch directory, so that none is found half removed. Trim is the last use of the cache
// in a run. It examines some hundred thousand files, so it runs once an hour at most.
func (c *Cache) Trim(limit size.Bytes, scratch *Scratch, patterns ...string) (size.Bytes, error) {
	err := unix.Flock(int(c.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	mark := filepath.Join(c.dir, trimmed)
	if info, err := os.Stat(mark); err == nil && past(info.ModTime(), time.Now()) && time.Since(info.ModTime()) < pause {
		return 0, nil
	}
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		return 0, err
	}
	entries, err := c.entries(patterns)
	if err != nil {
		return 0, err
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	var all, removed size.Bytes
	for _, e := range entries {
		all += e.size
	}
	for _, e := range entries {
		if all-removed <= limit {
			break
		}
		remove := os.Remove
		if e.isDir {
			remove = func(path string) error { return os.Rename(path, filepath.Join(scratch.Dir, filepath.Base(path))) }
		}
		if err := remove(e.path); err != nil {
			return removed, err
		}
		removed += e.size
	}
	return removed, nil
}

func (c *Cache) entries(patterns []string) ([]entry, error) {
	var entries []entry
	now := time.Now()
	for _, pattern := range patterns {
		names, err := fs.Glob(os.DirFS(c.dir), pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if atomicfile.IsLock(name) {
				continue
			}
			e, err := measure(filepath.Join(c.dir, name))
			if err != nil {
				return nil, err
			}
			if !past(e.used, now) {
				e.used = time.Time{} // a clock was wrong, and nothing is known
			}
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// measure returns size and last use of a file, or of a directory that atomicfile.Dir made.
func measure(path string) (entry, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return entry{}, err
	}
	if !info.IsDir() {
		return entry{path: path, used: info.ModTime(), size: onDisk(info)}, nil
	}
	e := entry{path: path, isDir: true}
	if e.used, err = atomicfile.LastUse(path); errors.Is(err, fs.ErrNotExist) {
		e.used, err = info.ModTime(), nil // its lock was not copied with it
	}
	if err != nil {
		return entry{}, err
	}
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			e.size += onDisk(info)
		}
		return err
	})
	return e, err
}

// onDisk returns the disk space that a file takes, without holes.
func onDisk(info fs.FileInfo) size.Bytes {
	return size.Bytes(info.Sys().(*syscall.Stat_t).Blocks * 512)
}

// rest is the resolution of last-use times: marking each use of thousands of files would be slow.
const rest = 10 * time.Minute

// past tells whether a time of use is none of the future, which a clock that was wrong once leaves.
func past(t, now time.Time) bool { return !t.After(now.Add(rest)) }

// markUsed sets a file's modification time to now. A failure costs no more than rebuilding the file.
func markUsed(path string, info fs.FileInfo) {
	if now := time.Now(); !past(info.ModTime(), now) || now.Sub(info.ModTime()) > rest {
		_ = os.Chtimes(path, now, now)
	}
}
