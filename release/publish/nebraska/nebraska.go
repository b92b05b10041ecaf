// Package nebraska hands a release to update servers: the answer of the Omaha protocol that tells machines of it, and
// the requests by which Nebraska, Flatcar's update server, learns it (github.com/flatcar/nebraska, backend/api/spec.yaml).
//
// In: a release directory and the address below which its payloads will be found. Every payload is read once more, and
// refused when it is not the one in the manifest. Out: a document, or a package on a server with a channel that points to it.
// Nothing that is on the server is changed but the channel, and nothing is uploaded.
//
// Digests come in three encodings, and clients take no other one: SHA-1 in base64 for each package, SHA-256 in base64 for
// the update of the OS, SHA-256 in hexadecimal digits for the others.
package nebraska

import (
	"crypto/sha1" //nolint:gosec // what the protocol has; payloads are signed over SHA-256
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
)

// FlatcarApp is the id of Flatcar in the protocol, and of its application on each Nebraska server.
const FlatcarApp = "e96281a6-d1af-4bde-9a0a-97b76e56dc57"

// Update is what machines are told of a release.
type Update struct {
	Version  string
	Arch     arch.Arch
	Codebase string // the address below which the files are, with a slash at its end
	Group    string // that machines of the release say to belong to; empty when it is as the base has it
	From     string // the version whose machines alone can apply it; empty for all
	OS       File
	Extra    []File // payloads of platforms
}

// File is one file to download.
type File struct {
	Name   string
	Size   size.Bytes
	SHA1   string // base64
	SHA256 digest.SHA256
}

// Load reads the payloads of a release directory. Codebase is where they will be downloaded from. If there is a version to update from,
// the payload of the OS is the one for its machines.
func Load(dir, codebase, from string) (*Update, error) {
	base, err := checkCodebase(codebase)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Read(dir)
	if err != nil {
		return nil, err
	}
	u := &Update{Version: m.Version, Codebase: base, From: from}
	if err := u.Arch.UnmarshalText([]byte(m.Arch)); err != nil {
		return nil, err
	}
	if m.Update != nil {
		u.Group = m.Update.Group
	}
	var wrong []error
	for _, p := range m.Payloads {
		name := p.File
		if p.Platform == "" && from != "" {
			if name, err = deltaFrom(m, from); err != nil {
				return nil, err
			}
		}
		f, err := load(dir, name, m)
		wrong = append(wrong, err)
		if p.Platform == "" {
			u.OS = f
		} else {
			u.Extra = append(u.Extra, f)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	if u.OS.Size == 0 {
		return nil, fmt.Errorf("%s has no update payload of the OS", dir)
	}
	return u, nil
}

// deltaFrom returns the file with the update from a version.
func deltaFrom(m *manifest.Manifest, version string) (string, error) {
	var versions []string
	for _, d := range m.Deltas {
		if d.From == version {
			return d.File, nil
		}
		versions = append(versions, d.From)
	}
	return "", fmt.Errorf("DELTA: release %s has no update from %s, only from %q; make the release again with DELTA_FROM, or leave DELTA out for the whole update",
		m.Version, version, versions)
}

// checkCodebase returns the address with the slash that clients need to put a name behind it.
func checkCodebase(codebase string) (string, error) {
	parsed, err := url.Parse(codebase)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") ||
		parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return "", fmt.Errorf("CODEBASE: wanted the http or https address of the directory where machines find the payloads, without user, password, query and fragment")
	}
	return strings.TrimSuffix(parsed.String(), "/") + "/", nil
}

func load(dir, name string, m *manifest.Manifest) (File, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	old := sha1.New() //nolint:gosec
	sum, n, err := digest.OfReader(io.TeeReader(f, old))
	if err != nil {
		return File{}, err
	}
	for _, want := range m.Files {
		if want.Name == name && want.SHA256 == sum {
			return File{Name: name, Size: size.Bytes(n), SHA1: inBase64(old), SHA256: sum}, nil
		}
	}
	return File{}, fmt.Errorf("%s is not the file that the manifest describes; make the release again", f.Name())
}

func inBase64(h hash.Hash) string { return base64.StdEncoding.EncodeToString(h.Sum(nil)) }

func (f File) sha256InBase64() string { return base64.StdEncoding.EncodeToString(f.SHA256[:]) }
