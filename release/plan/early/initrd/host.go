package initrd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/bases/features"
	"github.com/flatcar/oem-sysext/release/format/initramfs"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// Host is an initramfs that images are for.
type Host struct {
	VersionID string          // of its os-release, which images are compared with; it may have none
	Paths     map[string]bool // what is in it
}

// contents are what matters of an initramfs.
type contents struct {
	paths map[string]bool
	links map[string]string
	texts map[string][]byte // of os-release, whatever it is called
}

func newContents() contents {
	return contents{map[string]bool{}, map[string]string{}, map[string][]byte{}}
}

func isRelease(name string, length int64) bool {
	return strings.HasSuffix(name, "-release") && length <= osrelease.MaxLength
}

// LookIn reads an initramfs that is unpacked.
func LookIn(dir fs.FS) (*Host, error) {
	c := newContents()
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		c.paths[name] = true
		info, err := d.Info()
		switch {
		case err != nil:
		case d.Type() == fs.ModeSymlink:
			c.links[name], err = fs.ReadLink(dir, name)
		case d.Type().IsRegular() && isRelease(name, info.Size()):
			c.texts[name], err = fs.ReadFile(dir, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.host()
}

// Look reads an initramfs.
func Look(in io.Reader) (*Host, error) {
	c := newContents()
	_, broken, err := initramfs.Read(in, func(_ initramfs.Segment, m initramfs.Member, content io.Reader) error {
		name := path.Clean(m.Name)
		c.paths[name] = true
		if m.IsLink() {
			c.links[name] = m.Target
		} else if isRelease(name, int64(m.Size)) {
			text, err := io.ReadAll(content)
			c.texts[name] = text
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
	return c.host()
}

// host finds the os-release and reads it.
func (c contents) host() (*Host, error) {
	name := "etc/os-release" // which systemd reads first
	if !c.paths[name] {
		name = "usr/lib/os-release"
	}
	for range len(c.links) {
		target, is := c.links[name]
		if !is {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(name), target)
		}
		name = strings.TrimPrefix(path.Clean(target), "/")
	}
	text, there := c.texts[name]
	if !there {
		return nil, errors.New("it has no os-release, by which systemd tells whether an image fits; wanted an initramfs of systemd")
	}
	release, err := osrelease.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Host{VersionID: release["VERSION_ID"], Paths: c.paths}, nil
}

// Has tells whether there is something at a path, which is relative to the root. What is not known has nothing.
func (h *Host) Has(name string) bool { return h != nil && h.Paths[name] }

// Without returns the initramfs as if something was not in it.
func (h *Host) Without(name string) *Host {
	other := &Host{VersionID: h.VersionID, Paths: maps.Clone(h.Paths)}
	delete(other.Paths, name)
	return other
}

const (
	systemDir = "usr/lib/systemd/system/"
	ownDir    = "etc/systemd/system/"
	ownConfig = "etc/oem-sysext/"
)

// handOver copies the image to where the system finds it, unless that has one of its own in /usr. What is merged in the
// initramfs is gone when the system starts, and so is the initramfs.
const handOver = `[Unit]
Description=OEM image %[1]s of the initramfs for the system
DefaultDependencies=no
ConditionPathExists=/etc/extensions/%[1]s.raw
ConditionPathExists=!/sysroot/usr/%[2]s/%[1]s.raw
After=%[3]s %[5]s
Before=%[6]s initrd.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=systemd-tmpfiles --remove --create /%[4]s
`

// sysroot is where systemd merges below /sysroot, so that the system has the image before its first unit starts.
const (
	sysrootUnit  = "systemd-sysext-sysroot.service"
	sysrootMount = "sysroot.mount sysroot-usr.mount setup-root.service initrd-setup-root.service"
)

// sysrootLater makes that unit look in /sysroot/run before it decides to have nothing to do.
const sysrootLater = "[Unit]\nConditionDirectoryNotEmpty=|/sysroot/run/extensions\n"

// handOver returns what hands the image over. What an earlier boot left below /sysroot is removed. The running system finds the same
// image in /run, and leaves the merge alone.
func (e Enabling) handOver(dir string) []embed.File {
	settings := fmt.Sprintf("C /run/extensions/%[1]s.raw 0644 root root - /%[2]s/%[1]s.raw\n", e.Image, dir)
	if !e.Systemd.InitrdMerge() {
		return e.wanted("-hand-over", handOver, settings, "initrd-fs.target", "initrd-switch-root.target")
	}
	settings += "D /sysroot/run/extensions 0755 root root\n" + strings.Replace(settings, "/run", "/sysroot/run", 1)
	return append(e.wanted("-hand-over", handOver, settings, sysrootMount, "oem-sysext-link.service "+sysrootUnit),
		embed.File{Path: ownDir + "initrd.target.wants/" + sysrootUnit, Target: "/" + systemDir + sysrootUnit},
		embed.File{Path: ownDir + sysrootUnit + ".d/oem-sysext.conf", Mode: 0o644, Content: []byte(sysrootLater)})
}

// linkEarly links an image that is in the initramfs of all machines, on those of its cloud.
const linkEarly = `[Unit]
Description=Link to the OEM image %[1]s of the initramfs
DefaultDependencies=no
ConditionKernelCommandLine=flatcar.oem.id=%[5]s
Before=%[3]s initrd.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=systemd-tmpfiles --create /%[4]s
`

// modulesLater lets the modules be loaded that the image names, in its modules-load.d.
const modulesLater = "[Unit]\nAfter=%s\n"

// Enabling says of an image what making an initramfs merge it takes.
type Enabling struct {
	Image   string            // its name
	Systemd features.Features // of the initramfs's systemd
	Modules bool              // whether it has some to load
}

// merge is the unit that merges, and what wants it.
func (e Enabling) merge() (unit, wants string) {
	if e.Systemd.InitrdMerge() {
		return "systemd-sysext-initrd.service", "initrd.target.wants/"
	}
	return "systemd-sysext.service", "sysinit.target.wants/"
}

// wanted returns a unit that the initramfs starts, and the settings of systemd-tmpfiles that it applies.
func (e Enabling) wanted(name, unit, settings string, more ...any) []embed.File {
	config := ownConfig + e.Image + name + ".conf"
	merge, _ := e.merge()
	values := append([]any{e.Image, embed.Dir, merge, config}, more...)
	return []embed.File{
		{Path: ownDir + e.Image + name + ".service", Mode: 0o644, Content: fmt.Appendf(nil, unit, values...)},
		{Path: ownDir + "initrd.target.wants/" + e.Image + name + ".service", Target: "../" + e.Image + name + ".service"},
		{Path: config, Mode: 0o644, Content: []byte(settings)},
	}
}

// Enable returns what makes systemd merge an image: links to its units, the programs and units that the initramfs lacks, which
// come from usr, what hands the image over, and what loads modules in it where there are any.
func (h *Host) Enable(e Enabling, usr func(name string) ([]byte, error)) ([]embed.File, error) {
	return h.enable(e, extensionsDir, usr)
}

// EnableFor is Enable for an initramfs that machines of all clouds share, with the image in it, which they merge where the kernel
// command line has flatcar.oem.id=kernelID. The image is a blob.
func (h *Host) EnableFor(kernelID string, e Enabling, image digest.SHA256, usr func(name string) ([]byte, error)) ([]embed.File, error) {
	files, err := h.enable(e, path.Clean(ownConfig), usr)
	if err != nil {
		return nil, err
	}
	link := fmt.Sprintf("L /%[2]s/%[1]s.raw - - - - /%[3]s%[1]s.raw\n", e.Image, extensionsDir, ownConfig)
	files = append(files, e.wanted("-link", linkEarly, link, kernelID)...)
	return append(files, embed.File{Path: ownConfig + e.Image + ".raw", Mode: 0o644, Blob: image}), nil
}

func (h *Host) enable(e Enabling, dir string, usr func(name string) ([]byte, error)) ([]embed.File, error) {
	merge, wants := e.merge()
	files := append(e.handOver(dir), embed.File{Path: ownDir + wants + merge, Target: "/" + systemDir + merge})
	if e.Modules {
		files = append(files, embed.File{Path: ownDir + "systemd-modules-load.service.d/oem-sysext.conf", Mode: 0o644, Content: fmt.Appendf(nil, modulesLater, merge)})
	}
	lacking := []embed.File{
		{Path: "usr/bin/systemd-sysext", Mode: 0o755}, {Path: "usr/bin/systemd-tmpfiles", Mode: 0o755}, {Path: systemDir + merge, Mode: 0o644},
	}
	if e.Systemd.InitrdMerge() {
		lacking = append(lacking, embed.File{Path: systemDir + sysrootUnit, Mode: 0o644})
	}
	for _, needed := range lacking {
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
