package verify

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Directory is a release in a local directory.
type Directory string

// Names returns the names of all files. Anything but regular files is refused.
func (d Directory) Names(context.Context) ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file; a release has only those", filepath.Join(string(d), e.Name()))
		}
		names = append(names, e.Name())
	}
	return names, nil
}

// Open opens a file.
func (d Directory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(d), name))
}
