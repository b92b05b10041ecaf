// Package store is the pipeline's cache: file contents under their own digest, and results of steps under the digest
// of their inputs. Everything is verified when it is read; damaged entries count as missing.
//
// Goroutines and processes may use it concurrently: entries appear complete or not at all.
//
// Machines may share entries through remote caches (Shared): directories, or servers with the HTTP protocol of build caches.
// Remote entries are verified like local ones. A cache that fails is no longer used; writing to one has to be enabled.
package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Blobs keeps file contents under their SHA-256.
type Blobs struct{ dir, scratch string }

// OpenBlobs opens the blobs in a directory, and creates it if necessary.
// Blobs are first written to scratch, a directory on the same file system.
func OpenBlobs(dir, scratch string) (*Blobs, error) {
	return &Blobs{dir: dir, scratch: scratch}, os.MkdirAll(dir, 0o755)
}

// Path returns the path of a blob, whether or not it exists.
func (b *Blobs) Path(d digest.SHA256) string {
	name := d.String()
	return filepath.Join(b.dir, name[:2], name)
}

// Has tells whether a blob exists with the right length, and marks it as used. It does not read the content.
func (b *Blobs) Has(d digest.SHA256, length int64) bool {
	info, err := os.Stat(b.Path(d))
	if err != nil || info.Size() != length {
		return false
	}
	markUsed(b.Path(d), info)
	return true
}

// Add stores the content of r and returns digest and length.
func (b *Blobs) Add(r io.Reader) (digest.SHA256, int64, error) {
	f, err := os.CreateTemp(b.scratch, "blob.*")
	if err != nil {
		return digest.SHA256{}, 0, err
	}
	defer os.Remove(f.Name()) // already renamed on success
	d, n, err := digest.OfReader(io.TeeReader(r, f))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return digest.SHA256{}, 0, err
	}
	return d, n, b.adopt(f.Name(), d)
}

// take stores the content of r if it has the blob's digest.
func (b *Blobs) take(r io.Reader, want Blob) error {
	f, err := os.CreateTemp(b.scratch, "blob.")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // already renamed on success
	got, n, err := digest.OfReader(io.TeeReader(io.LimitReader(r, want.Size+1), f))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if n != want.Size || got != want.SHA256 {
		return fmt.Errorf("has %d bytes or more, with the digest %v; wanted %d and %v", n, got, want.Size, want.SHA256)
	}
	return b.adopt(f.Name(), want.SHA256)
}

// AddFile moves a file of the same file system into the store.
func (b *Blobs) AddFile(path string) (digest.SHA256, int64, error) {
	d, n, err := digest.OfFile(path)
	if err != nil {
		return d, 0, err
	}
	return d, n, b.adopt(path, d)
}

// adopt moves a complete file to its place, without fsync: blobs are verified when they are read.
func (b *Blobs) adopt(path string, d digest.SHA256) error {
	if err := os.Chmod(path, 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.Path(d)), 0o755); err != nil {
		return err
	}
	return os.Rename(path, b.Path(d))
}

// CopyTo writes a blob to w. A damaged blob is an error, after its bytes were written; it is removed,
// so that the next run makes it again.
func (b *Blobs) CopyTo(w io.Writer, d digest.SHA256) error {
	f, err := os.Open(b.Path(d))
	if err != nil {
		return err
	}
	defer f.Close()
	got, _, err := digest.OfReader(io.TeeReader(f, w))
	if err != nil {
		return err
	}
	if got != d {
		os.Remove(f.Name())
		return fmt.Errorf("%s was damaged (its digest is %s) and has been removed; run again to rebuild it", f.Name(), got)
	}
	return nil
}
