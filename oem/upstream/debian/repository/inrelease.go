package repository

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/fetch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/upstream/debian"
)

// inRelease is the part of a Release file that we use.
type inRelease struct {
	suite, codename  string
	date, validUntil time.Time // validUntil is zero if the file never expires
	byHash           bool
	architectures    []string
	sha256           string // lines "digest size path"
}

// isUnreleased tells whether the suite is not released yet, and so may lack pockets.
func (d *inRelease) isUnreleased() bool {
	return d != nil && slices.Contains([]string{"testing", "unstable", "experimental"}, d.suite)
}

// parseInRelease reads a Release file (https://wiki.debian.org/DebianRepository/Format).
func parseInRelease(text string) (*inRelease, error) {
	stanzas, err := debian.ReadStanzas(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(stanzas) == 0 {
		return nil, errors.New("the file is empty")
	}
	fields := stanzas[0]
	parsed := &inRelease{
		suite:         fields["suite"],
		codename:      fields["codename"],
		byHash:        fields["acquire-by-hash"] == "yes",
		architectures: strings.Fields(fields["architectures"]),
		sha256:        fields["sha256"],
	}
	if parsed.date, err = parseDate(fields["date"]); err != nil {
		return nil, fmt.Errorf("field Date: %w", err)
	}
	if until, set := fields["valid-until"]; set {
		if parsed.validUntil, err = parseDate(until); err != nil {
			return nil, fmt.Errorf("field Valid-Until: %w", err)
		}
	}
	return parsed, nil
}

func parseDate(text string) (time.Time, error) {
	parsed, err := time.Parse(time.RFC1123, text)
	if err == nil && text[len(text)-3:] != "UTC" && text[len(text)-3:] != "GMT" {
		err = fmt.Errorf("%q: wanted the time zone UTC", text)
	}
	return parsed.UTC(), err
}

// index returns the package index in a directory of the pocket, whose address is base.
// An index addressed by digest remains available for a while after the next one is published.
func (d *inRelease) index(base, dir string) (fetch.Want, error) {
	for _, name := range []string{"Packages.xz", "Packages.gz", "Packages"} {
		want, found, err := d.file(dir + "/" + name)
		if err != nil {
			return fetch.Want{}, err
		}
		if !found {
			continue
		}
		if d.byHash {
			want.URLs = append(want.URLs, base+"/"+dir+"/by-hash/SHA256/"+want.SHA256.String())
		}
		want.URLs = append(want.URLs, base+"/"+dir+"/"+name)
		return want, nil
	}
	return fetch.Want{}, fmt.Errorf("no %s/Packages.xz in its SHA256 section", dir)
}

// file looks up a path in the section SHA256.
func (d *inRelease) file(path string) (want fetch.Want, found bool, err error) {
	for line := range strings.Lines(d.sha256) {
		words := strings.Fields(line)
		if len(words) != 3 || words[2] != path {
			continue
		}
		length, err := strconv.ParseInt(words[1], 10, 63)
		if err != nil {
			return want, true, fmt.Errorf("length of %s: %w", path, err)
		}
		want.SHA256, err = digest.Parse(words[0])
		want.Size = size.Bytes(length)
		return want, true, err
	}
	return want, false, nil
}
