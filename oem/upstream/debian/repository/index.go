package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// Packages loads the package indexes of the release, from the cache if unchanged.
func (r *Release) Packages(ctx context.Context) (*debian.Packages, error) {
	var pockets []debian.Pocket
	for _, p := range r.pockets {
		text, err := r.indexText(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("packages of %s: %w", p.name, err)
		}
		pockets = append(pockets, debian.Pocket{Name: p.name, Text: text})
	}
	return debian.Load(r.Suite, r.Arch, pockets)
}

// indexText returns the needed fields of a pocket's index.
func (r *Release) indexText(ctx context.Context, p pocket) (string, error) {
	cached := filepath.Join(r.archive.CacheDir, p.name+"_"+r.Arch)
	if r.archive.CacheDir != "" {
		if text, ok := readCached(cached, p.index.SHA256); ok {
			return text, nil
		}
	}
	path, err := r.archive.Store.File(ctx, p.index)
	if errors.Is(err, fetch.ErrNotFound) {
		err = fmt.Errorf("the mirror is being updated; try again in a few minutes: %w", err)
	}
	if err != nil {
		return "", err
	}
	text, err := reduceFile(path)
	if err != nil {
		return "", err
	}
	if r.archive.CacheDir == "" {
		return text, nil
	}
	return text, writeCached(cached, p.index.SHA256, text)
}

// reduceFile returns the needed fields of an index, which may be compressed.
func reduceFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	plain, err := archive.Decompress(file)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	return debian.Reduce(plain)
}

// cacheVersion is part of a cached index's first line. Raise it when the output of debian.Reduce changes.
const cacheVersion = "2"

// cacheLine is the first line of a cached index, with the digests of source and content.
func cacheLine(source digest.SHA256, text string) (string, error) {
	sum, _, err := digest.OfReader(strings.NewReader(text))
	return fmt.Sprintf("oem-sysext packages %s %v %v\n", cacheVersion, source, sum), err
}

// readCached returns a cached index if it is undamaged and from this source.
func readCached(path string, source digest.SHA256) (text string, ok bool) {
	file, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer file.Close()
	var content strings.Builder // avoids the second copy that a string from os.ReadFile needs
	if info, err := file.Stat(); err == nil {
		content.Grow(int(info.Size()))
	}
	if _, err := io.Copy(&content, file); err != nil {
		return "", false
	}
	line, text, _ := strings.Cut(content.String(), "\n")
	want, err := cacheLine(source, text)
	return text, err == nil && line+"\n" == want
}

func writeCached(path string, source digest.SHA256, text string) error {
	line, err := cacheLine(source, text)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, io.MultiReader(strings.NewReader(line), strings.NewReader(text)))
		return err
	})
}
