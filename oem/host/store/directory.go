package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// directory is a remote cache in a directory, with the paths that a server would have: ac/DIGEST and cas/DIGEST.
type directory string

func (d directory) path(kind Kind, key digest.SHA256) string {
	return filepath.Join(string(d), string(kind), key.String())
}

func (d directory) Get(_ context.Context, kind Kind, key digest.SHA256) (io.ReadCloser, error) {
	return os.Open(d.path(kind, key))
}

func (d directory) Has(_ context.Context, kind Kind, key digest.SHA256) (bool, error) {
	_, err := os.Stat(d.path(kind, key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (d directory) Put(_ context.Context, kind Kind, key digest.SHA256, content *os.File, length int64) error {
	path := d.path(kind, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, 0o644, func(to io.Writer) error {
		_, err := io.Copy(to, io.NewSectionReader(content, 0, length))
		return err
	})
}
