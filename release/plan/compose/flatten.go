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

// FlattenedKey names, in os-release, the extensions whose files are part of /usr.
const FlattenedKey = "SYSEXT_FLATTENED"

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

// Flat returns what of extensions becomes part of /usr, with an os-release that says so; nothing when none is to be flattened.
func Flat(all []*Extension, base *bases.Base) (embed.Content, error) {
	var content embed.Content
	var flat []string
	for _, x := range all {
		if x.Flatten {
			content.Tree, _ = tree.Merge(content.Tree, x.Tree) // which Compose proved to be alike where both have a path
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

// flatRelease is the base's os-release that says what became part of /usr.
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
		return nil, 0, fmt.Errorf("the base has flattened extensions already (%s=%q), which cannot be told from its own files; begin with the release it was made from", FlattenedKey, before)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("the base's os-release is no regular file")
	}
	text := strings.TrimSuffix(string(content), "\n") + "\n" + FlattenedKey + "=\"" + strings.Join(flat, " ") + "\"\n"
	return []byte(text), info.Mode().Perm(), nil
}
