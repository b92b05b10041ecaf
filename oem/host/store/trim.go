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

// Cache is the directory that blobs, results and made directories of all runs lie in.
type Cache struct {
	dir  string
	lock *os.File
}

// OpenCache opens a directory, which is made when it is not there. As long as it is open, no other run trims it.
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

// trimmed is a file whose time is that of the last trimming, which is followed by a pause.
const (
	trimmed = "trimmed"
	pause   = time.Hour
)

// entry is what can be removed by itself.
type entry struct {
	path  string
	isDir bool
	used  time.Time // last
	size  size.Bytes
}

// Trim removes entries that match patterns, those first that were not used for longest, until they take no more of the disk than the
// limit. It returns what they took. Nothing is removed while another run has the cache open: that one may be about to read it.
// Directories, which must not be found half removed, are moved to the scratch directory. It is the last that a run does with its cache.
// Since it looks at some hundred thousand files, it does so once an hour.
func (c *Cache) Trim(limit size.Bytes, scratch *Scratch, patterns ...string) (size.Bytes, error) {
	err := unix.Flock(int(c.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	mark := filepath.Join(c.dir, trimmed)
	if info, err := os.Stat(mark); err == nil && time.Since(info.ModTime()) < pause {
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
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// measure returns what is to be known of a file, or of a directory that atomicfile.Dir made.
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

// onDisk returns what a file takes of the disk: holes take nothing.
func onDisk(info fs.FileInfo) size.Bytes {
	return size.Bytes(info.Sys().(*syscall.Stat_t).Blocks * 512)
}

// rest is for how long what was used is not marked anew: a step uses thousands of files.
const rest = 10 * time.Minute

// markUsed notes in a file's time that it is used. That it fails costs no more than a file that is made again.
func markUsed(path string, info fs.FileInfo) {
	if now := time.Now(); now.Sub(info.ModTime()) > rest {
		_ = os.Chtimes(path, now, now)
	}
}
