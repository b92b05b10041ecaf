package flatcar

import (
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/atomicfile"
	"github.com/flatcar/oem-sysext/release/bases/base"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
)

// defaultConfig is what of Flatcar's kernel configuration is known for sure.
//
//go:embed kernel.config
var defaultConfig []byte

// maxConfig is how long a kernel's configuration may be.
const maxConfig = 4 << 20

var systemdPattern = regexp.MustCompile(`^libsystemd-shared-([0-9]+(?:\.[0-9]+)*)(?:[^0-9].*)?\.so$`)

// look finds out what the /usr says about itself. Links in it are followed as far as they stay in it.
func (i *importer) look() error {
	root, err := os.OpenRoot(i.path(usrDir))
	if err != nil {
		return err
	}
	defer root.Close()
	i.base.ID = ID
	if err := i.lookAtRelease(root); err != nil {
		return err
	}
	if err := i.lookAtMachine(root); err != nil {
		return err
	}
	// As Flatcar has it, and as Debian does.
	i.base.Systemd, err = only(root, systemdPattern, "lib*/systemd/libsystemd-shared-*.so", "lib/*/systemd/libsystemd-shared-*.so")
	if err != nil {
		return err
	}
	i.base.Release, err = only(root, regexp.MustCompile(`^(.+)$`), "lib/modules/*")
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), disks.ImagesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		i.base.Embeds = append(i.base.Embeds, entry.Name())
	}
	return nil
}

// lookAtRelease reads os-release and refuses other systems and boards.
func (i *importer) lookAtRelease(root *os.Root) error {
	const name = "lib/os-release"
	content, err := readFile(root, name, osrelease.MaxLength)
	if err != nil {
		return fmt.Errorf("/usr has no os-release: %w", err)
	}
	values, err := osrelease.Parse(content)
	if err != nil {
		return err
	}
	if values["ID"] != "flatcar" {
		return fmt.Errorf("os-release has ID=%.40s; wanted flatcar", values["ID"])
	}
	id, err := base.VersionID(values["VERSION"])
	if err != nil {
		return fmt.Errorf("os-release has VERSION=%.40s: %w", values["VERSION"], err)
	}
	if id != values["VERSION_ID"] {
		return fmt.Errorf("os-release has VERSION=%s and VERSION_ID=%.40s; wanted VERSION_ID=%s", values["VERSION"], values["VERSION_ID"], id)
	}
	if board := values["FLATCAR_BOARD"]; board != "" && board != string(i.Arch)+"-usr" {
		return fmt.Errorf("it is for the board %.40s; wanted %s-usr, for ARCH=%s", board, i.Arch, i.Arch)
	}
	info, err := root.Stat(name)
	if err != nil {
		return err
	}
	i.base.Version, i.base.VersionID, i.base.Build = values["VERSION"], id, values["BUILD_ID"]
	i.base.Epoch = info.ModTime().UTC().Truncate(1e9)
	return nil
}

// lookAtMachine reads what the service manager is compiled for.
func (i *importer) lookAtMachine(root *os.Root) error {
	f, err := root.Open("lib/systemd/systemd")
	if err != nil {
		return fmt.Errorf("/usr has no service manager: %w", err)
	}
	defer f.Close()
	program, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("lib/systemd/systemd: %w", err)
	}
	if program.Machine != i.Arch.Machine() {
		return fmt.Errorf("its programs are for %v; wanted %v, for ARCH=%s", program.Machine, i.Arch.Machine(), i.Arch)
	}
	i.base.Arch = string(i.Arch)
	return nil
}

// only returns what the pattern finds in the names that fit, which must be one and the same thing.
func only(root *os.Root, pattern *regexp.Regexp, globs ...string) (string, error) {
	var found []string
	for _, glob := range globs {
		names, err := fs.Glob(root.FS(), glob)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if match := pattern.FindStringSubmatch(path.Base(name)); match != nil {
				found = append(found, match[1])
			}
		}
	}
	slices.Sort(found) // where one directory is a link to another, both are the same
	if found = slices.Compact(found); len(found) != 1 {
		return "", fmt.Errorf("/usr has %d things named %s: %.100q; wanted one", len(found), globs[0], found)
	}
	return found[0], nil
}

// writeConfig keeps the kernel's configuration, or what is known of all kernels of Flatcar.
func (i *importer) writeConfig() error {
	root, err := os.OpenRoot(i.path(usrDir))
	if err != nil {
		return err
	}
	defer root.Close()
	config := defaultConfig
	for _, name := range []string{
		"lib/modules/" + i.base.Release + "/build/.config", "lib/modules/" + i.base.Release + "/config",
		"boot/config-" + i.base.Release, "boot/config",
	} {
		if content, err := readFile(root, name, maxConfig); err == nil {
			config = content
			break
		}
	}
	return atomicfile.WriteBytes(i.path(configFile), 0o644, config)
}

// readFile reads a file of at most limit bytes.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return content, err
}
