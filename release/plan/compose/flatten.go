package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/store"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

const osReleaseFile = "lib/os-release" // relative to /usr

// flattenedKey names, in os-release, the extensions whose files are part of /usr.
const flattenedKey = "SYSEXT_FLATTENED"

// notFlat returns what of a tree cannot become part of /usr.
func notFlat(t tree.Tree) []string {
	var problems []string
	for _, e := range t {
		if e.Path != "/usr" && !strings.HasPrefix(e.Path, "/usr/") {
			problems = append(problems, fmt.Sprintf("%q is outside /usr and cannot be flattened; enable the extension instead", e.Path))
		}
		if len(e.Xattrs) > 0 {
			problems = append(problems, fmt.Sprintf("%q has xattrs and cannot be flattened; enable the extension instead", e.Path))
		}
	}
	return problems
}

// flatten makes the files of those extensions part of /usr that are to be.
func (w *workshop) flatten(ctx context.Context, empty partition) (partition, error) {
	var content embed.Content
	var flat []string
	for _, x := range w.extensions {
		if x.Flatten {
			content.Tree, _ = tree.Merge(content.Tree, x.Tree) // which compose proved to be alike where both have a path
			flat = append(flat, strings.TrimSuffix(x.Name.Value+"_"+x.Version.Value, "_"))
		}
	}
	if len(flat) == 0 {
		return empty, nil
	}
	release, mode, err := w.flatRelease(flat)
	if err != nil {
		return partition{}, err
	}
	content.Files = []embed.File{{Path: osReleaseFile, Mode: mode, Content: release}}
	inputs := []any{empty.SHA256, content, w.Epoch.Unix(), compressorVersion()}
	return store.Memo(ctx, w.results, "flatten", inputs, partition.blobs, func() (partition, error) {
		return w.makePartition(ctx, func(path string) error {
			return w.timed("flattening", func() error {
				return content.Into(ctx, w.blobs.Path(empty.SHA256), path, w.blobs, w.Epoch)
			})
		})
	})
}

// flatRelease is the base's os-release that says what became part of /usr.
func (w *workshop) flatRelease(flat []string) ([]byte, fs.FileMode, error) {
	file := filepath.Join(w.base.Usr, osReleaseFile)
	info, err := os.Lstat(file)
	if err != nil {
		return nil, 0, err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, 0, err
	}
	known, err := osrelease.Parse(content)
	if err != nil {
		return nil, 0, err
	}
	if before := known[flattenedKey]; before != "" {
		return nil, 0, fmt.Errorf("the base has flattened extensions already (%s=%q), which cannot be told from its own files; begin with the release it was made from", flattenedKey, before)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("the base's os-release is no regular file")
	}
	text := strings.TrimSuffix(string(content), "\n") + "\n" + flattenedKey + "=\"" + strings.Join(flat, " ") + "\"\n"
	return []byte(text), info.Mode().Perm(), nil
}
