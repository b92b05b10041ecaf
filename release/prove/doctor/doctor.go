// Package doctor examines the disk of a machine: what an update to a release will do to it.
//
// In go a disk and a release directory; out comes a diagnosis: the machine's state, what will be merged, and what stands in the way. The disk is
// only read, and none of its programs runs: the release's own script decides, in a sandbox, what is merged. Refused are disks without slots.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/flatcar/oem-sysext/oem/definition/platform"
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/bases/disks"
	"github.com/flatcar/oem-sysext/release/bases/slot"
	"github.com/flatcar/oem-sysext/release/format/btrfs"
	"github.com/flatcar/oem-sysext/release/format/datafs"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/osrelease"
	"github.com/flatcar/oem-sysext/release/partition/activate"
	"github.com/flatcar/oem-sysext/release/partition/integrate"
	"github.com/flatcar/oem-sysext/release/plan/compose/extension"
	"github.com/flatcar/oem-sysext/release/prove/fleet"
	"github.com/flatcar/oem-sysext/release/prove/story"
	"github.com/flatcar/oem-sysext/release/setup"
)

// Diagnosis is what an update to a release does to a machine, by what is on its disk.
type Diagnosis struct {
	Disk     string            `json:"disk"`
	Release  string            `json:"release"`
	Platform string            `json:"platform,omitempty"` // empty if only the machine's markers tell
	Runs     string            `json:"runs,omitempty"`     // version in the slot that boots next; empty if it cannot be read
	State    string            `json:"state,omitempty"`    // of prove/fleet
	How      string            `json:"how,omitempty"`      // a machine gets into that state
	Said     []string          `json:"said"`               // by the release's own script that links images
	Merged   map[string]string `json:"merged"`             // where images come from, by name
	Problems []string          `json:"problems"`           // what stands in the way, and what is not known
}

func (d *Diagnosis) problem(format string, args ...any) {
	d.Problems = append(d.Problems, fmt.Sprintf(format, args...))
}

// doctor examines a disk.
type doctor struct {
	bench   *setup.Bench
	choice  *setup.Choice
	arch    arch.Arch
	disk    *os.File
	to      story.Installable
	machine *fleet.Machine
	root    *os.Root // of the machine's files
	scratch string
	found   *Diagnosis
}

// Examine reads the disk of a machine, an image or a device, and tells what an update to the release in OUTPUT/VERSION/ARCH does to it.
func Examine(ctx context.Context, o setup.Options, disk string) (*Diagnosis, error) {
	slots, damage, err := slot.Read(disk)
	if err != nil {
		return nil, err
	}
	to, err := story.Open(o.Dir())
	if err != nil {
		return nil, err
	}
	choice, err := setup.Choose(o)
	if err != nil {
		return nil, err
	}
	bench, err := setup.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer bench.Close()
	d := &doctor{bench: bench, choice: choice, arch: o.Arch, to: to, found: &Diagnosis{Disk: disk, Release: to.Manifest.Version}}
	if d.disk, err = os.Open(disk); err != nil {
		return nil, err
	}
	defer d.disk.Close()
	if d.scratch, err = os.MkdirTemp(bench.Scratch, "doctor."); err != nil {
		return nil, err
	}
	defer os.RemoveAll(d.scratch)
	if d.machine, err = fleet.NewMachine(filepath.Join(d.scratch, "machine"), bench.Tools, o.Arch); err != nil {
		return nil, err
	}
	if d.root, err = os.OpenRoot(d.machine.Root()); err != nil {
		return nil, err
	}
	defer d.root.Close()
	if damage != nil {
		d.found.problem("%v; an update repairs it", damage)
	}
	return d.found, errors.Join(d.readSlots(ctx, slots), d.readFiles(ctx), d.foresee(ctx))
}

// copy copies files out of a partition. What cannot be read is a problem, and no mistake.
func (d *doctor) copy(ctx context.Context, p gpt.Partition, to string, paths ...string) error {
	err := os.MkdirAll(to, 0o755)
	if err == nil {
		err = datafs.FileSystem{Disk: d.disk, Offset: p.Offset(), Length: p.Size()}.Copy(ctx, d.bench.Tools, to, paths...)
	}
	if err != nil && ctx.Err() == nil {
		d.found.problem("partition %d (%s): %v", p.Number, p.Name, err)
		return nil
	}
	return err
}

// readSlots reads which version boots next, and whether the release has room in the other slot.
func (d *doctor) readSlots(ctx context.Context, slots []slot.Slot) error {
	next, err := slot.Next(slots)
	if err != nil {
		d.found.problem("%v", err)
		return nil
	}
	for _, s := range slots {
		if s.Name != next.Name && int64(d.to.Slot.Usr.Size) > s.Partition.Size() {
			d.found.problem("the release has %v; slot %s has room for %v", d.to.Slot.Usr.Size, s.Name, size.Bytes(s.Partition.Size()))
		}
	}
	dir := filepath.Join(d.scratch, "runs")
	if err := d.copy(ctx, next.Partition, dir, "lib/os-release"); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	d.found.Runs = setting(root, "lib/os-release", "VERSION")
	return nil
}

// What is read of the root partition.
var ofRoot = []string{"etc/extensions", "etc/flatcar", "var/lib/extensions"}

// readFiles copies what a machine's users and Flatcar have put on its disk.
func (d *doctor) readFiles(ctx context.Context) error {
	root := d.machine.Root()
	table, err := gpt.Read(d.disk, sizeOf(d.disk))
	if err != nil {
		return err
	}
	var hasRoot, hasOEM bool
	for _, p := range table.Partitions() {
		switch p.Name {
		case "OEM":
			hasOEM = true
			if err := d.copy(ctx, p, filepath.Join(root, "oem"), "."); err != nil {
				return err
			}
		case "ROOT":
			hasRoot = true
			if err := d.copy(ctx, p, root, ofRoot...); err != nil {
				return err
			}
			if err := d.copy(ctx, p, root, d.targets()...); err != nil {
				return err
			}
		}
	}
	if !hasOEM {
		d.found.problem("there is no partition OEM, so what says which cloud it is is not known")
	}
	if !hasRoot {
		d.found.problem("there is no partition ROOT, so what the machine's user has done is not known")
	}
	return d.readImages(ctx)
}

func sizeOf(f *os.File) int64 {
	end, _ := f.Seek(0, 2) // of a device, too
	return end
}

// extensionDirs are where users have extensions.
var extensionDirs = []string{"etc/extensions", "var/lib/extensions"}

// targets are what links of the user lead to on the root partition.
func (d *doctor) targets() (paths []string) {
	for _, dir := range extensionDirs {
		entries, _ := fs.ReadDir(d.root.FS(), dir)
		for _, e := range entries {
			if target, err := d.root.Readlink(path.Join(dir, e.Name())); err == nil {
				if !path.IsAbs(target) {
					target = path.Join("/", dir, target)
				}
				paths = append(paths, strings.TrimPrefix(path.Clean(target), "/"))
			}
		}
	}
	return paths
}

// readImages replaces the user's images by what they say that they are for.
func (d *doctor) readImages(ctx context.Context) error {
	reader := &extension.Reader{Tools: d.bench.Tools, Blobs: d.bench.Blobs, Results: d.bench.Results, Scratch: d.bench.Scratch, Arch: d.arch}
	for _, dir := range extensionDirs {
		entries, _ := fs.ReadDir(d.root.FS(), dir)
		for _, e := range entries {
			name := strings.TrimSuffix(e.Name(), ".raw")
			file := d.machine.Find("/" + path.Join(dir, e.Name()))
			if info, err := os.Lstat(file); file == "" || err != nil || !info.Mode().IsRegular() || flatcars.MatchString(strings.TrimPrefix(file, d.machine.Root())) {
				continue
			}
			says, err := d.releaseOf(ctx, reader, file, name)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				d.found.problem("/%s/%s: %v; whether it is merged is not known", dir, e.Name(), err)
			}
			if err := os.WriteFile(file, []byte(says), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// flatcars are the images that Flatcar puts on a machine.
var flatcars = regexp.MustCompile(`^/(oem/sysext|etc/flatcar/oem-sysext)/`)

// word is what those values of an extension-release have that decide whether it is merged.
var word = regexp.MustCompile(`^[A-Za-z0-9._+ -]*$`)

// releaseOf returns the extension-release of an image, as a machine without a boot has it.
func (d *doctor) releaseOf(ctx context.Context, reader *extension.Reader, file, name string) (string, error) {
	blob, _, err := d.bench.Blobs.AddFile(file)
	if err != nil {
		return "", err
	}
	image, err := reader.Read(ctx, blob, nil)
	if err != nil {
		return "", err
	}
	release, err := extension.ReleaseOf(image.Tree, name, d.bench.Blobs)
	text := "SYSEXT_ID=" + name + "\n"
	for _, key := range []string{"ID", "VERSION_ID", "SYSEXT_LEVEL", "SYSEXT_SCOPE", "ARCHITECTURE"} {
		if value, set := release[key]; set && word.MatchString(value) {
			text += fmt.Sprintf("%s=%q\n", key, value)
		}
	}
	return text, err
}

// foresee lets the release's script decide.
func (d *doctor) foresee(ctx context.Context) error {
	usr := filepath.Join(d.scratch, "usr")
	integrated, err := d.readRelease(ctx, usr)
	if err != nil {
		return err
	}
	d.machine.SetSlot("new", usr)
	d.recognise()
	d.update(integrated)
	said, merged, err := d.machine.Activate(ctx, "new")
	if err != nil {
		return fmt.Errorf("the release's script %s: %w: %s", activate.Script, err, said)
	}
	d.found.Said, d.found.Merged = strings.Split(strings.TrimSpace(said), "\n"), merged
	return nil
}

// readRelease copies what the script needs of the release's /usr, and tells whether Flatcar's own scripts leave images to it.
func (d *doctor) readRelease(ctx context.Context, to string) (integrated bool, err error) {
	err = btrfs.View(ctx, d.to.Slot.Usr.Path, func(usr string) error {
		for _, name := range []string{"lib/os-release", activate.Script} {
			content, err := os.ReadFile(filepath.Join(usr, name))
			if err != nil {
				return fmt.Errorf("the release has no /usr/%s: %w", name, err)
			}
			if err := errors.Join(os.MkdirAll(filepath.Join(to, path.Dir(name)), 0o755), os.WriteFile(filepath.Join(to, name), content, 0o644)); err != nil {
				return err
			}
		}
		_, missing := os.Stat(filepath.Join(usr, integrate.Hook))
		integrated = missing == nil
		images, err := os.ReadDir(filepath.Join(usr, disks.ImagesDir))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, disks.ImagesDir), 0o755); err != nil {
			return err
		}
		for _, image := range images { // that they are there is enough
			if err := os.WriteFile(filepath.Join(to, disks.ImagesDir, image.Name()), nil, 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	return integrated, err
}

// oemID is how the boot loader's configuration on the OEM partition says which cloud it is.
var oemID = regexp.MustCompile(`(?m)^\s*set\s+oem_id="?([A-Za-z0-9._-]+)"?\s*$`)

// recognise finds the machine's cloud as the script does, except by markers, which a disk does not have.
func (d *doctor) recognise() {
	d.found.Platform = setting(d.root, "oem/oem-release", "ID")
	if content, err := readRegular(d.root, "oem/grub.cfg"); err == nil {
		if id := oemID.FindStringSubmatch(content); id != nil {
			d.machine.Arguments = []string{"flatcar.oem.id=" + id[1]}
		}
	}
	if d.found.Platform == "" && len(d.machine.Arguments) > 0 {
		if p := platform.ByKernelID(d.choice.Catalogue, strings.TrimPrefix(d.machine.Arguments[0], "flatcar.oem.id=")); p != nil {
			d.found.Platform = p.ID.Value
		}
	}
	if d.found.Platform == "" {
		d.found.problem("nothing on the disk says which cloud it is; the machine's markers decide, or flatcar.oem.id= on its kernel command line")
	}
}

// update tells what Flatcar's own scripts do when they install the release, and when the machine goes back.
func (d *doctor) update(integrated bool) {
	id := d.found.Platform
	if id == "" {
		return
	}
	versions := fleet.Versions{Old: d.found.Runs, New: d.to.Manifest.Base.VersionID}
	state := fleet.StateOf(d.root, id, versions)
	d.found.State, d.found.How = state.Name, state.How
	if !embeds(d.to.Manifest, id) {
		d.found.problem("the release embeds nothing for %s", id)
	}
	if !integrated && (state.Marked && state.Name != "delivered" || state.Name == "unmarked") {
		d.found.problem("flatcar-postinst of the release asks for oem-%s.gz, and without it there is no update: deliver it, or make the release without INTEGRATE=0", id)
	}
	if state.Marked && d.found.Runs != "" && !fleet.Delivered(d.root, id, d.found.Runs) {
		d.found.problem("oem-%s-%s.raw is nowhere on the disk, so going back to %s takes a download", id, d.found.Runs, d.found.Runs)
	}
}

func embeds(m *manifest.Manifest, id string) bool {
	for _, p := range m.Platforms {
		if p.ID == id {
			return p.Placement.Embedded()
		}
	}
	return false
}

// setting returns a value of a file like os-release; empty if there is none.
func setting(root *os.Root, name, key string) string {
	content, err := readRegular(root, name)
	if err != nil {
		return ""
	}
	values, err := osrelease.Parse([]byte(content))
	if err != nil {
		return ""
	}
	return values[key]
}

// readRegular reads a short file that came from the disk.
func readRegular(root *os.Root, name string) (string, error) {
	info, err := root.Stat(name)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > osrelease.MaxLength) {
		err = fs.ErrInvalid
	}
	if err != nil {
		return "", err
	}
	content, err := root.ReadFile(name)
	return string(content), err
}
