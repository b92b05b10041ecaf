package debian

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
)

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
		err = fmt.Errorf("the mirror is being updated, try again in some minutes: %w", err)
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

// neededFields are the fields that resolving and fetching need: a third of an index.
var neededFields = map[string]bool{
	"Package": true, "Version": true, "Architecture": true, "Priority": true, "Essential": true, "Provides": true,
	"Depends": true, "Pre-Depends": true, "Filename": true, "Size": true, "SHA256": true,
}

// reduceFile reads an index, which may be compressed, and returns its needed fields.
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
	return reduce(plain)
}

// reduce returns the needed fields of each stanza, one line each.
func reduce(index io.Reader) (string, error) {
	var out strings.Builder
	var fields []field
	for reader := newStanzaReader(index); ; {
		text, err := reader.next()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err == nil {
			fields, err = appendFields(fields[:0], text)
		}
		if err != nil {
			return "", fmt.Errorf("before line %d: %w", reader.line, err)
		}
		for _, f := range fields {
			if neededFields[f.name] {
				out.WriteString(f.name + ": " + strings.ReplaceAll(f.value, "\n", "") + "\n")
			}
		}
		out.WriteByte('\n')
	}
}

// cacheVersion is part of a cached index's first line. Raise it when neededFields or the form changes.
const cacheVersion = "2"

// cacheLine is the first line of a cached index: what it was made from and what it must hold.
func cacheLine(source digest.SHA256, text string) (string, error) {
	sum, _, err := digest.OfReader(strings.NewReader(text))
	return fmt.Sprintf("oem-sysext packages %s %v %v\n", cacheVersion, source, sum), err
}

// readCached returns a cached index if it is whole and made from this source.
func readCached(path string, source digest.SHA256) (text string, ok bool) {
	file, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer file.Close()
	var content strings.Builder // unlike os.ReadFile it gives a string without a second copy
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
