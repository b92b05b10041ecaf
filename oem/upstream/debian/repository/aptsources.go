package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// aptSources reads sources.list and then sources.list.d, in apt's order.
func aptSources(dir string) ([]aptSource, error) {
	paths := []string{filepath.Join(dir, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		matches, err := filepath.Glob(filepath.Join(dir, "sources.list.d", pattern))
		if err != nil {
			return nil, err
		}
		paths = append(paths, matches...)
	}
	slices.Sort(paths[1:])
	var all []aptSource
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		parse := parseOneLine
		if strings.HasSuffix(path, ".sources") {
			parse = parseDeb822Sources
		}
		found, err := parse(string(content))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, found...)
	}
	return expandMirrorFiles(all)
}

// parseDeb822Sources reads a .sources file (sources.list(5), DEB822-STYLE FORMAT).
func parseDeb822Sources(text string) ([]aptSource, error) {
	stanzas, err := debian.ReadCommented(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	var found []aptSource
	for _, st := range stanzas {
		if isNo(st["enabled"]) || !slices.Contains(strings.Fields(st["types"]), "deb") {
			continue
		}
		for _, uri := range strings.Fields(st["uris"]) {
			found = append(found, aptSource{
				uri:        uri,
				suites:     strings.Fields(st["suites"]),
				components: strings.Fields(st["components"]),
				signedBy:   keyringPath(st["signed-by"]),
				expired:    isNo(st["check-valid-until"]),
			})
		}
	}
	return found, nil
}

// oneLine is "deb [options] uri suite component...".
var oneLine = regexp.MustCompile(`^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)`)

// parseOneLine reads a .list file (sources.list(5), ONE-LINE-STYLE FORMAT). Other lines are ignored.
func parseOneLine(text string) ([]aptSource, error) {
	var found []aptSource
	for line := range strings.Lines(text) {
		m := oneLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		source := aptSource{uri: m[2], suites: []string{m[3]}, components: strings.Fields(m[4])}
		for option := range strings.FieldsSeq(m[1]) {
			name, value, _ := strings.Cut(option, "=")
			switch strings.ToLower(name) {
			case "signed-by":
				source.signedBy = keyringPath(value)
			case "check-valid-until":
				source.expired = isNo(value)
			}
		}
		found = append(found, source)
	}
	return found, nil
}

// expandMirrorFiles replaces "mirror+file:/path", as in cloud images, by the first address in that file.
func expandMirrorFiles(sources []aptSource) ([]aptSource, error) {
	for i, source := range sources {
		list, isList := strings.CutPrefix(source.uri, "mirror+file:")
		if !isList {
			continue
		}
		content, err := os.ReadFile(path.Clean("/" + list))
		if errors.Is(err, fs.ErrNotExist) {
			continue // apt reports it
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(content)) {
			if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
				sources[i].uri = words[0]
				break
			}
		}
	}
	return sources, nil
}

// keyringPath returns the first path in a Signed-By, which may also contain fingerprints or whole keys.
func keyringPath(signedBy string) string {
	for word := range strings.FieldsFuncSeq(signedBy, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' }) {
		if path.IsAbs(word) {
			return word
		}
	}
	return ""
}

// checkOff finds the setting Acquire::Check-Valid-Until "false" (apt.conf(5)), on one line, as is usual.
var checkOff = regexp.MustCompile(`(?im)^\s*Acquire::Check-Valid-Until\s+"?(false|no|0|off|without|disable)"?\s*;`)

// validUntilUnchecked tells whether the host's apt is configured to accept expired indexes.
func validUntilUnchecked(dir string) (bool, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "apt.conf.d", "*"))
	if err != nil {
		return false, err
	}
	for _, path := range append(paths, filepath.Join(dir, "apt.conf")) {
		content, err := os.ReadFile(path)
		if err == nil && checkOff.Match(content) {
			return true, nil
		}
	}
	return false, nil
}

func isNo(value string) bool {
	switch strings.ToLower(value) {
	case "no", "false", "without", "off", "disable":
		return true
	}
	return false
}
