package verify

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Directory is a release on a disk.
type Directory string

// Names returns the names of all files in it. Anything else in it is refused.
func (d Directory) Names(context.Context) ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("%s is no regular file; a release has nothing else", filepath.Join(string(d), e.Name()))
		}
		names = append(names, e.Name())
	}
	return names, nil
}

// Open opens one of its files.
func (d Directory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(d), name))
}
