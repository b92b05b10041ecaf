package initrd

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/release/embed"
	"github.com/flatcar/oem-sysext/release/initramfs"
	"github.com/flatcar/oem-sysext/release/osrelease"
)

// Host is an initramfs that images are for.
type Host struct {
	VersionID string          // of its os-release, which images are compared with; it may have none
	paths     map[string]bool // what is in it
}

// Look reads an initramfs.
func Look(in io.Reader) (*Host, error) {
	h := &Host{paths: map[string]bool{}}
	links, texts := map[string]string{}, map[string][]byte{}
	_, broken, err := initramfs.Read(in, func(_ initramfs.Segment, m initramfs.Member, content io.Reader) error {
		name := path.Clean(m.Name)
		h.paths[name] = true
		if m.IsLink() {
			links[name] = m.Target
		} else if strings.HasSuffix(name, "-release") && m.Size <= osrelease.MaxLength {
			text, err := io.ReadAll(content)
			texts[name] = text
			return err
		}
		return nil
	})
	if broken != nil {
		err = errors.Join(broken, err)
	}
	if err != nil {
		return nil, err
	}
	name := "etc/os-release" // which systemd reads first
	if !h.paths[name] {
		name = "usr/lib/os-release"
	}
	for range len(links) {
		target, is := links[name]
		if !is {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(name), target)
		}
		name = strings.TrimPrefix(path.Clean(target), "/")
	}
	text, there := texts[name]
	if !there {
		return nil, errors.New("it has no os-release, by which systemd tells whether an image fits; wanted an initramfs of systemd")
	}
	release, err := osrelease.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	h.VersionID = release["VERSION_ID"]
	return h, nil
}

// Has tells whether there is something at a path, which is relative to the root. What is not known has nothing.
func (h *Host) Has(name string) bool { return h != nil && h.paths[name] }

const (
	systemDir = "usr/lib/systemd/system/"
	ownDir    = "etc/systemd/system/"

	initrdUnitSystemd = 258 // the first that has a unit of its own for merging in an initramfs
)

// handOver copies the image to where the system finds it, unless that has one of its own in /usr. What is merged in the
// initramfs is gone when the system starts, and so is the initramfs.
const handOver = `[Unit]
Description=OEM image of the initramfs for the system
DefaultDependencies=no
ConditionPathExists=!/sysroot/usr/%[2]s/%[1]s.raw
After=initrd-fs.target
Before=initrd.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=systemd-tmpfiles --create /etc/oem-sysext.conf
`

// modulesLater lets the modules be loaded that the image names, in its modules-load.d.
const modulesLater = "[Unit]\nAfter=%s\n"

// Enable returns what makes systemd of a version merge an image: links to its units, the programs and units that the initramfs
// lacks, which come from usr, what hands the image over, and what loads modules in it where there are any.
func (h *Host) Enable(image string, systemd int, modules bool, usr func(name string) ([]byte, error)) ([]embed.File, error) {
	merge, wants := "systemd-sysext.service", "sysinit.target.wants/"
	if systemd >= initrdUnitSystemd {
		merge, wants = "systemd-sysext-initrd.service", "initrd.target.wants/"
	}
	const unit = "oem-sysext-hand-over.service"
	files := []embed.File{
		{Path: ownDir + wants + merge, Target: "/" + systemDir + merge},
		{Path: ownDir + unit, Mode: 0o644, Content: fmt.Appendf(nil, handOver, image, embed.Dir)},
		{Path: ownDir + "initrd.target.wants/" + unit, Target: "../" + unit},
		{Path: "etc/oem-sysext.conf", Mode: 0o644, Content: fmt.Appendf(nil, "C /run/extensions/%[1]s.raw 0644 root root - /%[2]s/%[1]s.raw\n", image, extensionsDir)},
	}
	if modules {
		files = append(files, embed.File{Path: ownDir + "systemd-modules-load.service.d/oem-sysext.conf", Mode: 0o644, Content: fmt.Appendf(nil, modulesLater, merge)})
	}
	for _, needed := range []embed.File{
		{Path: "usr/bin/systemd-sysext", Mode: 0o755},
		{Path: "usr/bin/systemd-tmpfiles", Mode: 0o755},
		{Path: systemDir + merge, Mode: 0o644},
	} {
		if h.Has(needed.Path) {
			continue
		}
		var err error
		if needed.Content, err = usr(strings.TrimPrefix(needed.Path, "usr/")); err != nil {
			return nil, fmt.Errorf("the initramfs lacks /%s: %w", needed.Path, err)
		}
		files = append(files, needed)
	}
	return files, nil
}
