// Package activate makes a release link the images of a machine's cloud, and extensions that the machine is to have, before
// systemd-sysext merges what is linked.
//
// In go the platforms, how their machines are recognised, and the images that make up each, and the extensions that may be enabled;
// out come files for /usr: a POSIX shell script that decides and links, a unit that runs it, and a command that shows what it decided.
// Links go to /run/extensions and lead into /usr, by the same path in both slots, so a rollback takes its own images along
// and nothing on the machine has to change.
//
// The images' directory is also bound to a path of its own, before anything is merged over /usr. A refresh that opens an image through
// the merged /usr makes the merge's mount and the image's loop device keep each other for ever (systemd issue 43685).
//
// What the script takes from a machine is compared with names that are in it, and is never part of a path or a command.
package activate

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/flatcar/oem-sysext/oem/definition/detect"
	"github.com/flatcar/oem-sysext/release/partition/embed"
)

// SecondStage is the initramfs that lies in /usr, as a squashfs image, since Flatcar's alpha 4487.
const SecondStage = "lib/flatcar/bootengine.img"

// Platform is one cloud, as far as choosing its images goes.
type Platform struct {
	detect.Candidate
	KernelID string   // the value of flatcar.oem.id= that means this platform, or empty where it means another one
	Images   []string // the embedded images that make it up, its own one first; none when it is not embedded
}

// Extension is one that is embedded, and the machines that get it unless their users say something else.
type Extension struct {
	Name      string
	Always    bool     // on all machines
	Platforms []string // on those of some clouds; without these and Always, where its name is in the configuration
	Versions  []Version
}

// Version is one image of an extension.
type Version struct {
	Name    string // empty where there is but one
	File    string // in the images' directory
	Default bool
}

// When is when the extension is enabled, in the words of the script.
func (x Extension) When() []string {
	switch {
	case x.Always:
		return []string{"always"}
	case len(x.Platforms) > 0:
		return x.Platforms
	}
	return []string{"by-name"}
}

// Words are the versions in the words of the script, the default first.
func (x Extension) Words() []string {
	var words []string
	for _, v := range x.Versions {
		word := cmp.Or(v.Name, "-") + ":" + v.File
		if v.Default {
			words = slices.Insert(words, 0, word)
		} else {
			words = append(words, word)
		}
	}
	return words
}

// The paths of the script and of the units that run it, in /usr of the release and in the initramfs.
const (
	Script    = "lib/flatcar/oem-sysext-link"
	Command   = "bin/oem-sysext"
	Unit      = "oem-sysext-link.service"
	unitDir   = "lib/systemd/system"
	wantedBy  = unitDir + "/sysinit.target.wants/" + Unit
	changed   = "lib/flatcar/oem-sysext-changed"
	notAgain  = unitDir + "/systemd-sysext.service.d/oem-sysext.conf"
	initrdDir = "usr/lib/systemd/system"
)

// Images is where the embedded images are, whatever the running system merges over /usr; MountUnit, which makes that so, is named after it.
const (
	Images    = "/run/oem/images"
	MountUnit = "run-oem-images.mount"
)

//go:embed link.sh.tmpl
var scriptTemplate string

//go:embed show.sh
var showScript []byte

//go:embed changed.sh
var changedScript []byte

// systemUnit links in the running system. A mount unit with nofail is not ordered before local-fs.target, so /oem has to be named.
const systemUnit = `[Unit]
Description=Links to the OEM images of this machine's cloud
DefaultDependencies=no
Wants=` + MountUnit + `
After=local-fs.target oem.mount ` + MountUnit + `
Before=systemd-sysext.service sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/` + Script + `
SyslogIdentifier=oem-sysext
`

// initrdUnit links for a merge below /sysroot. It runs the script of the release that is mounted there.
const initrdUnit = `[Unit]
Description=Links to the OEM images of this machine's cloud
DefaultDependencies=no
ConditionPathExists=/sysroot/usr/` + Script + `
Wants=` + MountUnit + ` ` + sysrootMountUnit + `
After=sysroot.mount sysroot-usr.mount sysroot-oem.mount setup-root.service initrd-setup-root.service
After=` + MountUnit + ` ` + sysrootMountUnit + `
Before=systemd-sysext-sysroot.service initrd-setup-root-after-ignition.service initrd-switch-root.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /sysroot/usr/` + Script + ` /sysroot
SyslogIdentifier=oem-sysext
`

// mountText binds the images' directory. An initramfs that has merged something has bound it; if not, only the merged one could be bound,
// and what is linked stays what it is. It goes last when a machine stops: images are in use until then.
const mountText = `[Unit]
Description=OEM images of this release
DefaultDependencies=no
ConditionPathIsDirectory=/usr/` + embed.Dir + `
ConditionPathExists=!/usr/.systemd-sysext
Before=systemd-sysext.service

[Mount]
What=/usr/` + embed.Dir + `
Where=` + Images + `
Options=bind
`

// sysrootMountUnit binds in an initramfs where the merge below /sysroot looks, as MountUnit does there for the running system,
// which takes /run over.
const sysrootMountUnit = "sysroot-" + MountUnit

// initrdMountText binds the images' directory in an initramfs, at a path.
func initrdMountText(at string) []byte {
	return []byte(`[Unit]
Description=OEM images of this release
DefaultDependencies=no
ConditionPathIsDirectory=/sysroot/usr/` + embed.Dir + `

[Mount]
What=/sysroot/usr/` + embed.Dir + `
Where=` + at + `
Options=bind
`)
}

// sysrootDropIn makes systemd's own unit for the merge below /sysroot look at links in /run, too, before it decides to have nothing to do.
const sysrootDropIn = `[Unit]
ConditionDirectoryNotEmpty=|/sysroot/run/extensions
`

// changedDropIn keeps the running system from opening all images once more that the initramfs has merged.
const changedDropIn = `[Service]
ExecCondition=/usr/` + changed + `
`

// System returns what goes into /usr of a release whose running system merges images (systemd before 258),
// and of every other one, too: where the initramfs has linked already, there is nothing left to do.
func System(platforms []Platform, extensions []Extension) []embed.File {
	return []embed.File{
		{Path: Script, Mode: 0o755, Content: []byte(script(platforms, extensions))},
		{Path: Command, Mode: 0o755, Content: showScript},
		{Path: unitDir + "/" + Unit, Mode: 0o644, Content: []byte(systemUnit)},
		{Path: unitDir + "/" + MountUnit, Mode: 0o644, Content: []byte(mountText)},
		{Path: wantedBy, Target: "../" + Unit},
	}
}

// SystemAfterInitrd returns what goes into /usr in addition where there may be an initramfs that merges images.
func SystemAfterInitrd() []embed.File {
	return []embed.File{
		{Path: changed, Mode: 0o755, Content: changedScript},
		{Path: notAgain, Mode: 0o644, Content: []byte(changedDropIn)},
	}
}

// Paths are where in /usr there may be something of this package.
func Paths() []string {
	var paths []string
	for _, f := range slices.Concat(System(nil, nil), SystemAfterInitrd()) {
		paths = append(paths, f.Path)
	}
	return paths
}

// Initrd returns what goes into an initramfs that merges images below /sysroot (systemd 258 and later). Paths start at its root.
func Initrd() []embed.File {
	return []embed.File{
		{Path: initrdDir + "/" + Unit, Mode: 0o644, Content: []byte(initrdUnit)},
		{Path: initrdDir + "/" + MountUnit, Mode: 0o644, Content: initrdMountText(Images)},
		{Path: initrdDir + "/" + sysrootMountUnit, Mode: 0o644, Content: initrdMountText("/sysroot" + Images)},
		{Path: initrdDir + "/initrd.target.wants/" + Unit, Target: "../" + Unit},
		{Path: initrdDir + "/systemd-sysext-sysroot.service.d/oem-sysext-link.conf", Mode: 0o644, Content: []byte(sysrootDropIn)},
	}
}

// script returns the shell script for the platforms and extensions, which are in any order.
func script(platforms []Platform, extensions []Extension) string {
	var text strings.Builder
	var images []string
	for _, p := range platforms {
		images = append(images, p.Images...)
	}
	slices.Sort(images)
	byName := slices.SortedFunc(slices.Values(extensions), func(a, b Extension) int { return strings.Compare(a.Name, b.Name) })
	err := template.Must(template.New("link").Funcs(template.FuncMap{"quote": quoteAll}).Parse(scriptTemplate)).
		Execute(&text, map[string]any{
			"Dir": embed.Dir, "Below": Images, "Platforms": views(platforms), "Images": slices.Compact(images), "Extensions": byName,
		})
	if err != nil {
		panic(err) // the template is a constant, and a builder takes everything
	}
	return text.String()
}

// view is a platform as the template sees it.
type view struct {
	Platform
	Rules, Fallbacks []string // shell commands that succeed on a machine that fits
	Alike            []string // platforms whose machines may look like this one's
}

func views(platforms []Platform) []view {
	sorted := slices.SortedFunc(slices.Values(platforms), func(a, b Platform) int { return strings.Compare(a.ID, b.ID) })
	found := make([]view, len(sorted))
	for i, p := range sorted {
		found[i].Platform = p
		for _, rule := range p.Rules {
			if rule.Fallback {
				found[i].Fallbacks = append(found[i].Fallbacks, command(rule))
			} else {
				found[i].Rules = append(found[i].Rules, command(rule))
			}
		}
		for _, other := range sorted {
			if other.ID != p.ID && slices.Contains(other.AmbiguousWith, p.ID) {
				found[i].Alike = append(found[i].Alike, other.ID)
			}
		}
	}
	return found
}

// command returns a rule in the words of the script.
func command(r detect.Rule) string {
	var parts []string
	add := func(what string, p detect.Pattern) {
		if p != "" {
			parts = append(parts, what+" "+quote(glob(p)))
		}
	}
	for _, field := range slices.Sorted(maps.Keys(r.DMI)) {
		add("dmi "+string(field), r.DMI[field])
	}
	add("kernel_argument", r.KernelArgument)
	add("disk_label", r.DiskLabel)
	add("hypervisor type", r.Hypervisor.Type)
	add("hypervisor uuid", r.Hypervisor.UUID)
	if r.Virt != "" { // last, since it starts a program
		parts = append(parts, "virt "+string(r.Virt))
	}
	return strings.Join(parts, " && ")
}

// glob returns a pattern in the shell's language, where letters match in both cases.
func glob(p detect.Pattern) string {
	var text strings.Builder
	for _, r := range string(p) {
		lower, upper := strings.ToLower(string(r)), strings.ToUpper(string(r))
		switch {
		case lower != upper:
			fmt.Fprintf(&text, "[%s%s]", upper, lower)
		case r == '[' || r == ']' || r == '\\':
			text.WriteString(`\` + string(r))
		default:
			text.WriteRune(r)
		}
	}
	return text.String()
}

// quote returns a text as one word of the shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func quoteAll(words []string) string { return quote(strings.Join(words, " ")) }
