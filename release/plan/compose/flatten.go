package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

const osReleaseFile = "lib/os-release" // relative to /usr

// FlattenedKey lists the flattened extensions in os-release.
const FlattenedKey = "SYSEXT_FLATTENED"

// notFlat returns the problems of a tree that is to be flattened.
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

// Flat returns the files of all flattened extensions and an os-release that lists them. Without any it returns nothing.
func Flat(all []*Extension, base *bases.Base) (embed.Content, error) {
	var content embed.Content
	var flat []string
	for _, x := range all {
		if x.Flatten {
			content.Tree, _ = tree.Merge(content.Tree, x.Tree) // Compose checked that paths in both are identical
			flat = append(flat, strings.TrimSuffix(x.Name.Value+"_"+x.Version.Value, "_"))
		}
	}
	if len(flat) == 0 {
		return content, nil
	}
	release, mode, err := flatRelease(base, flat)
	content.Files = []embed.File{{Path: osReleaseFile, Mode: mode, Content: release}}
	return content, err
}

// flatRelease returns the base's os-release with the list of flattened extensions.
func flatRelease(base *bases.Base, flat []string) ([]byte, fs.FileMode, error) {
	file := filepath.Join(base.Usr, osReleaseFile)
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
	if before := known[FlattenedKey]; before != "" {
		return nil, 0, fmt.Errorf("the base already has flattened extensions (%s=%q), which cannot be told from its own files; use the release that it was made from", FlattenedKey, before)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("the base's os-release is not a regular file")
	}
	text := strings.TrimSuffix(string(content), "\n") + "\n" + FlattenedKey + "=\"" + strings.Join(flat, " ") + "\"\n"
	return []byte(text), info.Mode().Perm(), nil
}
