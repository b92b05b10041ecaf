package flatcar

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Reference says which release is meant. One of its fields is set.
type Reference struct {
	Version string // such as 4593.2.1
	Channel string // the latest release of stable, beta, alpha, lts, or of a year's lts, such as lts-2024
	URL     string
	File    string
}

// channels are Flatcar's, in the order of the second number of their versions.
var channels = []string{"alpha", "beta", "stable", "lts"}

var (
	versionPattern = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(\+[a-zA-Z0-9.-]+)?$`)
	ltsPattern     = regexp.MustCompile(`^lts-[0-9]{4}$`)
	withinName     = regexp.MustCompile(`(?:^|[^0-9.])([0-9]{4,}\.[0-9]+\.[0-9]+)(?:[^0-9.]|\.[^0-9]|$)`)
)

// Parse tells a version, a channel, an address and a file apart.
func Parse(text string) (Reference, error) {
	switch {
	case versionPattern.MatchString(text):
		return Reference{Version: text}, nil
	case slices.Contains(channels, text), ltsPattern.MatchString(text):
		return Reference{Channel: text}, nil
	case strings.Contains(text, "://"):
		address, err := url.Parse(text)
		if err != nil || path.Base(address.Path) == "." || path.Base(address.Path) == "/" {
			return Reference{}, fmt.Errorf("no address of a file: %s", text)
		}
		return Reference{URL: text}, nil
	}
	if info, err := os.Stat(text); err == nil && info.Mode().IsRegular() {
		return Reference{File: text}, nil
	}
	return Reference{}, fmt.Errorf("no base %q; wanted a reference base, a version such as 4593.2.1, a channel (%s), an address, "+
		"or a file: a disk image, a USR partition, a network-boot archive or a usr.squashfs", text, strings.Join(channels, ", "))
}

// wanted is the version that a reference asks for, as far as it says so. Addresses and files may have it in their name
// or in that of their directory.
func (r Reference) wanted() string {
	name := r.File
	if address, err := url.Parse(r.URL); err == nil && r.URL != "" {
		name = address.Path
	}
	for _, part := range []string{filepath.Base(name), filepath.Base(filepath.Dir(name))} {
		if match := withinName.FindStringSubmatch(part); match != nil {
			return match[1]
		}
	}
	return r.Version
}

// channel returns the server and the directory of a channel or a version.
func (r Reference) channel() (server, directory string, err error) {
	if year, isLTS := strings.CutPrefix(r.Channel, "lts-"); isLTS {
		return "lts", "current-" + year, nil
	}
	if r.Channel != "" {
		return r.Channel, "current", nil
	}
	for i, name := range channels {
		if strings.Split(r.Version, ".")[1] == fmt.Sprint(i) {
			return name, r.Version, nil
		}
	}
	return "", "", fmt.Errorf("version %s belongs to no channel; wanted a second number from 0 (alpha) to 3 (lts)", r.Version)
}
