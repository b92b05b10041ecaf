// Package torcx turns packages of Torcx, Flatcar's way to ship several versions of an application before extensions, into
// trees for extensions.
//
// In: an untrusted tar archive with .torcx/manifest.json. Out: a directory with usr in it. The assets that Torcx linked below
// /run go where systemd looks for them below /usr: bin, network, units, sysusers, tmpfiles and udev_rules. Everything else in the package
// is kept in the same order, since programs look for it beside themselves: lib in /usr/lib, usr/share in /usr/share. What Torcx's variables
// lead to is written into units and other texts, and references to Torcx itself are removed from units. Refused: other kinds of manifests, assets missing from the package, and everything that package
// archive refuses.
package torcx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/archive"
)

const (
	manifestFile = ".torcx/manifest.json"
	kind         = "image-manifest-v0"
	maxText      = 1 << 20 // bytes of a manifest or a unit
)

// manifest is a package's manifest (torcx, schemas/image-manifest-v0).
type manifest struct {
	Kind  string
	Value struct {
		Bin      []string `json:"bin"`
		Network  []string `json:"network"`
		Units    []string `json:"units"`
		Sysusers []string `json:"sysusers"`
		Tmpfiles []string `json:"tmpfiles"`
		Rules    []string `json:"udev_rules"`
	}
}

// assets returns the manifest's assets by their destination below /usr.
func (m manifest) assets() []struct {
	dir  string
	list []string
} {
	type of = struct {
		dir  string
		list []string
	}
	return []of{
		{"usr/bin", m.Value.Bin}, {"usr/lib/systemd/network", m.Value.Network}, {unitDir, m.Value.Units},
		{"usr/lib/sysusers.d", m.Value.Sysusers}, {"usr/lib/tmpfiles.d", m.Value.Tmpfiles}, {"usr/lib/udev/rules.d", m.Value.Rules},
	}
}

const unitDir = "usr/lib/systemd/system"

// Convert writes the tree of a package into a directory, which must be empty or missing. Scratch is for temporary files.
func Convert(file, to, scratch string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	dir, err := os.MkdirTemp(scratch, "torcx.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	from, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := archive.Tar(in, from, archive.Options{Name: filepath.Base(file)}); err != nil {
		return err
	}
	m, err := readManifest(from)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	if left, err := os.ReadDir(to); err == nil && len(left) > 0 {
		return fmt.Errorf("%s is not empty; remove it", to)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	into, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer into.Close()
	if err := convert(from, into, m); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

func readManifest(root *os.Root) (manifest, error) {
	var m manifest
	content, err := readText(root, manifestFile)
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("has no %s, so it is not a Torcx package", manifestFile)
	}
	if err == nil {
		m, err = parse(content)
	}
	return m, err
}

func parse(content []byte) (m manifest, err error) {
	if err := json.Unmarshal(content, &m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestFile, err)
	}
	if m.Kind != kind {
		return m, fmt.Errorf("%s: kind %q; wanted %s", manifestFile, m.Kind, kind)
	}
	return m, nil
}

func readText(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(content) > maxText {
		err = fmt.Errorf("%s has more than %d bytes", name, maxText)
	}
	return content, err
}
