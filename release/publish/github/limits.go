package github

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/publish/forge"
)

// What GitHub takes.
const (
	maxAssets = 1000    // of a release
	maxNotes  = 125_000 // characters
)

// assetName is a name that GitHub keeps as it is. In others it puts dots.
var assetName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// Check returns an error that names everything GitHub would refuse.
func (p *Repository) Check(r *forge.Release) error {
	var wrong []error
	for _, f := range r.Files {
		switch {
		case f.Size > manifest.MaxPublished:
			wrong = append(wrong, fmt.Errorf("%s has %v, and GitHub takes less than 2 GiB; a release for it must not have a disk image (BASE)", f.Name, f.Size))
		case f.Size == 0:
			wrong = append(wrong, fmt.Errorf("%s is empty, which GitHub does not take", f.Name))
		case !assetName.MatchString(f.Name):
			wrong = append(wrong, fmt.Errorf("GitHub would rename %q; wanted letters, digits, dots, underscores and hyphens", f.Name))
		}
	}
	if len(r.Files) > maxAssets {
		wrong = append(wrong, fmt.Errorf("%d files; GitHub takes %d", len(r.Files), maxAssets))
	}
	return errors.Join(wrong...)
}

// notes returns what fits of the notes, whole lines.
func notes(r *forge.Release) string {
	const rest = "\n\n(The rest is in report.md.)\n"
	runes := []rune(r.Notes)
	if len(runes) <= maxNotes {
		return r.Notes
	}
	cut := string(runes[:maxNotes-len(rest)])
	if end := strings.LastIndexByte(cut, '\n'); end >= 0 {
		cut = cut[:end]
	}
	return cut + rest
}
