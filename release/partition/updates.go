package release

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// Where update_engine finds the key, and, unless /etc/flatcar/update.conf has them, server and group; relative to /usr.
// (update_engine, omaha_request_params.cc: lines of KEY=VALUE, the last of a key counts, and no space is trimmed.)
const (
	updateKeyPath  = "share/update_engine/" + updateKeyFile
	updateConfPath = "share/flatcar/update.conf"
)

// openTrustedKey reads the key that the profile wants machines to verify updates with.
func (w *workshop) openTrustedKey() (err error) {
	u := w.profile.Update
	if u == nil || u.Key.Value == "" {
		return nil
	}
	if w.trustedKey, err = sign.ReadPublic(w.profile.Path(u.Key.Value)); err != nil {
		return fmt.Errorf("%s:%d: update: %w", w.profile.File, u.Key.Line, err)
	}
	return nil
}

// checkTrustedKey refuses to make a release whose machines would take none of its updates.
func (w *workshop) checkTrustedKey() error {
	if w.trustedKey == nil || w.trustedKey.Equal(w.updateKey.Public()) {
		return nil
	}
	u := w.profile.Update
	if w.updateKey.Development() {
		return fmt.Errorf("%s:%d: update: machines would trust %s, and without UPDATE_KEY payloads are signed with a development key; UPDATE_KEY names the private half of it",
			w.profile.File, u.Key.Line, u.Key)
	}
	return fmt.Errorf("%s:%d: update: %s is not the public half of UPDATE_KEY, so machines would refuse the release's own payloads; one of the two must be the other's",
		w.profile.File, u.Key.Line, u.Key)
}

// updatePaths are the files that updateFiles returns.
func (w *workshop) updatePaths() []string {
	var paths []string
	if w.trustedKey != nil {
		paths = append(paths, updateKeyPath)
	}
	if u := w.profile.Update; u != nil && (u.Server.Value != "" || u.Group.Value != "") {
		paths = append(paths, updateConfPath)
	}
	return paths
}

// updateFiles make machines ask the server that the profile names, and verify what they get from there.
func (w *workshop) updateFiles() ([]embed.File, error) {
	var files []embed.File
	for _, path := range w.updatePaths() {
		f := embed.File{Path: path, Mode: 0o644}
		var err error
		if path == updateKeyPath {
			f.Content, err = sign.EncodePublic(w.trustedKey)
		} else {
			f.Content, err = w.updateConf()
		}
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// updateConf is the base's configuration of updates with what the profile says in it.
func (w *workshop) updateConf() ([]byte, error) {
	if e, there := w.target.Usr.Find("/usr/" + updateConfPath); there && e.Type != tree.File {
		return nil, fmt.Errorf("/usr/%s of the base is no regular file (%v)", updateConfPath, e)
	}
	content, err := os.ReadFile(filepath.Join(w.base.Usr, updateConfPath))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out bytes.Buffer
	u := w.profile.Update
	set := map[string]string{"SERVER": u.Server.Value, "GROUP": u.Group.Value}
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

func (w *workshop) describeUpdate() (*manifest.Update, error) {
	u := w.profile.Update
	if u == nil {
		return nil, nil
	}
	m := &manifest.Update{Server: u.Server.Value, Group: u.Group.Value}
	if w.trustedKey == nil {
		return m, nil
	}
	der, err := x509.MarshalPKIXPublicKey(w.trustedKey)
	m.Key = digest.Of(der)
	return m, err
}
