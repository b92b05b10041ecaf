// Package store keeps what the pipeline makes: file contents under their own digest, and results of steps
// under the digest of their inputs. Whatever is read is verified; what is damaged counts as missing.
//
// Both are safe for concurrent use, also by several processes: entries appear complete or not at all.
//
// Machines may share them through remote caches, a directory or a server as build caches speak it (Shared). What comes from there is
// verified as what lies here; a cache that fails is left alone, and nothing is written to one unless that is asked for.
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

// OpenBlobs opens the blobs in a directory, which is made when it is not there.
// What is being added lies in scratch, a directory on the same file system.
func OpenBlobs(dir, scratch string) (*Blobs, error) {
	return &Blobs{dir: dir, scratch: scratch}, os.MkdirAll(dir, 0o755)
}

// Path returns where a blob lies, or would lie.
func (b *Blobs) Path(d digest.SHA256) string {
	name := d.String()
	return filepath.Join(b.dir, name[:2], name)
}

// Has tells whether a blob is there with the length it should have, which is a use of it. It does not read it.
func (b *Blobs) Has(d digest.SHA256, length int64) bool {
	info, err := os.Stat(b.Path(d))
	if err != nil || info.Size() != length {
		return false
	}
	markUsed(b.Path(d), info)
	return true
}

// Add keeps all that r has left and returns its digest and length.
func (b *Blobs) Add(r io.Reader) (digest.SHA256, int64, error) {
	f, err := os.CreateTemp(b.scratch, "blob.*")
	if err != nil {
		return digest.SHA256{}, 0, err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	d, n, err := digest.OfReader(io.TeeReader(r, f))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return digest.SHA256{}, 0, err
	}
	return d, n, b.adopt(f.Name(), d)
}

// take keeps what r has, if that is the blob.
func (b *Blobs) take(r io.Reader, want Blob) error {
	f, err := os.CreateTemp(b.scratch, "blob.")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	got, n, err := digest.OfReader(io.TeeReader(io.LimitReader(r, want.Size+1), f))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if n != want.Size || got != want.SHA256 {
		return fmt.Errorf("has %d bytes or more, with the digest %v; wanted %d and %v", n, got, want.Size, want.SHA256)
	}
	return b.adopt(f.Name(), want.SHA256)
}

// AddFile is Add for a file of the same file system, which is moved into the store.
func (b *Blobs) AddFile(path string) (digest.SHA256, int64, error) {
	d, n, err := digest.OfFile(path)
	if err != nil {
		return d, 0, err
	}
	return d, n, b.adopt(path, d)
}

// adopt moves a complete file to its place. Its bytes need not be flushed: a blob is verified when it is read.
func (b *Blobs) adopt(path string, d digest.SHA256) error {
	if err := os.Chmod(path, 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.Path(d)), 0o755); err != nil {
		return err
	}
	return os.Rename(path, b.Path(d))
}

// CopyTo writes a blob to w. A damaged blob is removed and reported after its bytes were written,
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
		return fmt.Errorf("%s was damaged (its digest is %s) and is removed; run again to make it anew", f.Name(), got)
	}
	return nil
}
