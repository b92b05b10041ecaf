// Package stamp caches digests of files until the files change.
//
// A file is unchanged if device, inode, length, mtime and ctime are the same; no program can set ctime back.
// A file that changed less than a second before it was read is read again next time, because file system
// timestamps are coarse.
package stamp

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Stamps are digests by path. They may be used concurrently.
type Stamps struct {
	file  string
	mu    sync.Mutex
	known map[string]stamp
}

type stamp struct {
	Device   uint64        `json:"device"`
	Inode    uint64        `json:"inode"`
	Size     int64         `json:"size"`
	Modified int64         `json:"modified"` // nanoseconds since 1970
	Changed  int64         `json:"changed"`
	SHA256   digest.SHA256 `json:"sha256"`
}

// settled is how old a change must be before the digest is cached.
const settled = time.Second

// Open reads stamps from a file. A missing or damaged file has none.
func Open(file string) *Stamps {
	s := &Stamps{file: file}
	content, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(content, &s.known) != nil || s.known == nil {
		s.known = map[string]stamp{}
	}
	return s
}

// Digest returns the digest of a file, from the cache or by reading it.
func (s *Stamps) Digest(path string) (digest.SHA256, error) {
	now, err := statOf(path)
	if err != nil {
		return digest.SHA256{}, err
	}
	s.mu.Lock()
	before := s.known[path]
	s.mu.Unlock()
	now.SHA256 = before.SHA256
	if now == before {
		return before.SHA256, nil
	}
	d, _, err := digest.OfFile(path)
	if err != nil {
		return d, err
	}
	return d, s.Set(path, d)
}

// Set caches the digest of a file, if its last change is old enough.
func (s *Stamps) Set(path string, d digest.SHA256) error {
	now, err := statOf(path)
	if err != nil {
		return err
	}
	now.SHA256 = d
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.known, path); time.Since(time.Unix(0, now.Changed)) > settled {
		s.known[path] = now
	}
	return nil
}

// Save writes the stamps of files that still exist.
func (s *Stamps) Save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path := range s.known {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			delete(s.known, path)
		}
	}
	content, err := json.Marshal(s.known)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(s.file, 0o644, content)
}

func statOf(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return stamp{Device: st.Dev, Inode: st.Ino, Size: st.Size, Modified: st.Mtim.Nano(), Changed: st.Ctim.Nano()}, nil
}
