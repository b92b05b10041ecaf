package partition

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/bases"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/embed"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// The files in which update_engine looks for the key and, unless /etc/flatcar/update.conf sets them, server and group; relative
// to /usr. (update_engine, omaha_request_params.cc: lines of KEY=VALUE, the last one counts, spaces are not trimmed.)
const (
	UpdateKeyPath  = "share/update_engine/" + manifest.UpdateKeyFile
	UpdateConfPath = "share/flatcar/update.conf"
)

// Updates holds the update server of machines and the key that they trust; zero leaves both as in the base.
type Updates struct {
	Profile *profiles.Update
	Trusted *rsa.PublicKey
}

// Paths returns the files that the updates add to /usr.
func (u Updates) Paths() []string {
	var paths []string
	if u.Trusted != nil {
		paths = append(paths, UpdateKeyPath)
	}
	if p := u.Profile; p != nil && (p.Server.Value != "" || p.Group.Value != "") {
		paths = append(paths, UpdateConfPath)
	}
	return paths
}

// files returns the configuration with the profile's server and the key by which machines verify its payloads.
func (u Updates) files(b *bases.Base) ([]embed.File, error) {
	var files []embed.File
	for _, path := range u.Paths() {
		f := embed.File{Path: path, Mode: 0o644}
		var err error
		if path == UpdateKeyPath {
			f.Content, err = sign.EncodePublic(u.Trusted)
		} else {
			f.Content, err = u.conf(b)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// conf returns the base's update configuration with the profile's settings.
func (u Updates) conf(b *bases.Base) ([]byte, error) {
	if e, there := b.Target.Usr.Find("/usr/" + UpdateConfPath); there && e.Type != tree.File {
		return nil, fmt.Errorf("/usr/%s of the base is not a regular file (%v)", UpdateConfPath, e)
	}
	content, err := os.ReadFile(filepath.Join(b.Usr, UpdateConfPath))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out bytes.Buffer
	set := map[string]string{"SERVER": u.Profile.Server.Value, "GROUP": u.Profile.Group.Value}
	for line := range strings.Lines(string(content)) {
		if key, _, _ := strings.Cut(line, "="); set[key] == "" {
			out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	for _, key := range []string{"SERVER", "GROUP"} {
		if set[key] != "" {
			fmt.Fprintf(&out, "%s=%s\n", key, set[key])
		}
	}
	return out.Bytes(), nil
}
