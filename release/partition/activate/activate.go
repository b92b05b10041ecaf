// Package activate makes a release link the images of a machine's cloud, and the extensions enabled on the machine, before
// systemd-sysext merges them.
//
// In: the platforms with their markers and images, and the extensions that can be enabled. Out: files for /usr: a POSIX shell
// script that decides and links, a unit that runs it, and a command that shows its decisions.
// Links go to /run/extensions and point into /usr, to the same path in both slots, so a rollback brings its own images
// and nothing on the machine has to change.
//
// The images' directory is also bind-mounted to a path of its own, before anything is merged over /usr. A refresh that opens an
// image through the merged /usr makes the merge's mount and the image's loop device pin each other for ever (systemd issue 43685).
//
// The script only compares values from the machine with the names that it contains; they never become part of a path or a command.
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

// SecondStage is the second-stage initramfs in /usr, a squashfs image, since Flatcar alpha 4487.
const SecondStage = "lib/flatcar/bootengine.img"

// Release is what the script has to choose from.
type Release struct {
	Platforms  []Platform
	Extensions []Extension
	// Integrated tells that Flatcar's own after-ignition step, in the initramfs, leaves the OEM images that the release has to the script.
	Integrated bool
}

// Platform is one cloud with its markers and images.
type Platform struct {
	detect.Candidate
	KernelID string   // the value of flatcar.oem.id= for this platform; empty if that value means another one
	Images   []string // its embedded images, its own one first; none when it is not embedded
}

// Extension is an embedded extension and its default: the machines that get it unless their users decide otherwise.
type Extension struct {
	Name      string
	Always    bool     // on all machines
	Platforms []string // on machines of these clouds; without these and Always, where the configuration names it
	Versions  []Version
}

// Version is one image of an extension.
type Version struct {
	Name    string // empty if there is only one
	File    string // relative to the images' directory
	Default bool
}

// When returns when the extension is enabled, as the script spells it.
func (x Extension) When() []string {
	switch {
	case x.Always:
		return []string{"always"}
	case len(x.Platforms) > 0:
		return x.Platforms
	}
	return []string{"by-name"}
}

// Words returns the versions as the script spells them, the default first.
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

// Images is the bind mount of the embedded images, independent of merges over /usr. MountUnit is named after it.
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

// systemUnit links in the running system. It names oem.mount, because nofail mounts are not ordered before local-fs.target.
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

// initrdUnit links for a merge below /sysroot. It runs the script of the release mounted there.
//
// It comes after Ignition, which may write what the script reads, and before Flatcar's after-ignition step, which merges from systemd
// 258 on. Since 4694 nothing else mounts the OEM partition by then; a failure to do so is not this unit's.
const initrdUnit = `[Unit]
Description=Links to the OEM images of this machine's cloud
DefaultDependencies=no
ConditionPathExists=/sysroot/usr/` + Script + `
Wants=` + MountUnit + ` ` + sysrootMountUnit + `
After=sysroot.mount sysroot-usr.mount initrd-root-fs.target setup-root.service initrd-setup-root.service ignition-files.service
After=` + MountUnit + ` ` + sysrootMountUnit + `
Before=initrd-setup-root-after-ignition.service initrd-parse-etc.service initrd-switch-root.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=-systemctl --quiet start sysroot-oem.mount
ExecStart=/bin/sh /sysroot/usr/` + Script + ` /sysroot
SyslogIdentifier=oem-sysext
`

// mountText binds the images' directory. An initramfs that merged something has bound it already; binding it after a merge
// would bind the merged /usr, so the links stay as they are. It is unmounted last at shutdown, because images are in use until then.
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

// sysrootMountUnit is the bind mount in an initramfs for the merge below /sysroot. MountUnit is there too, for the running system,
// which takes over /run.
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

// changedDropIn keeps the running system from opening images again that the initramfs has merged.
const changedDropIn = `[Service]
ExecCondition=/usr/` + changed + `
`

// System returns the files for /usr of every release. They link in the running system, which is needed before systemd 258;
// from then on the initramfs links, and nothing is left to do.
func (r Release) System() []embed.File {
	return []embed.File{
		{Path: Script, Mode: 0o755, Content: []byte(r.script())},
		{Path: Command, Mode: 0o755, Content: showScript},
		{Path: unitDir + "/" + Unit, Mode: 0o644, Content: []byte(systemUnit)},
		{Path: unitDir + "/" + MountUnit, Mode: 0o644, Content: []byte(mountText)},
		{Path: wantedBy, Target: "../" + Unit},
	}
}

// SystemAfterInitrd returns the additional files for /usr if an initramfs may merge images.
func SystemAfterInitrd() []embed.File {
	return []embed.File{
		{Path: changed, Mode: 0o755, Content: changedScript},
		{Path: notAgain, Mode: 0o644, Content: []byte(changedDropIn)},
	}
}

// Paths returns all paths below /usr that this package may write.
func Paths() []string {
	var paths []string
	for _, f := range slices.Concat(Release{}.System(), SystemAfterInitrd()) {
		paths = append(paths, f.Path)
	}
	return paths
}

// Initrd returns the files for an initramfs that merges images below /sysroot (systemd 258 and later), relative to its root.
func Initrd() []embed.File {
	return []embed.File{
		{Path: initrdDir + "/" + Unit, Mode: 0o644, Content: []byte(initrdUnit)},
		{Path: initrdDir + "/" + MountUnit, Mode: 0o644, Content: initrdMountText(Images)},
		{Path: initrdDir + "/" + sysrootMountUnit, Mode: 0o644, Content: initrdMountText("/sysroot" + Images)},
		{Path: initrdDir + "/initrd.target.wants/" + Unit, Target: "../" + Unit},
	}
}

// script returns the shell script for the platforms and extensions, given in any order.
func (r Release) script() string {
	var text strings.Builder
	var images []string
	for _, p := range r.Platforms {
		images = append(images, p.Images...)
	}
	slices.Sort(images)
	byName := slices.SortedFunc(slices.Values(r.Extensions), func(a, b Extension) int { return strings.Compare(a.Name, b.Name) })
	err := template.Must(template.New("link").Funcs(template.FuncMap{"quote": quoteAll}).Parse(scriptTemplate)).
		Execute(&text, map[string]any{
			"Dir": embed.Dir, "Below": Images, "Integrated": r.Integrated,
			"Platforms": views(r.Platforms), "Images": slices.Compact(images), "Extensions": byName,
		})
	if err != nil {
		panic(err) // cannot happen: the template is a constant and a Builder does not fail
	}
	return text.String()
}

// view is a platform as the template sees it.
type view struct {
	Platform
	Rules, Randoms, Fallbacks []string // shell commands that succeed on a matching machine, by tier
	Alike                     []string // platforms with indistinguishable machines
}

func views(platforms []Platform) []view {
	sorted := slices.SortedFunc(slices.Values(platforms), func(a, b Platform) int { return strings.Compare(a.ID, b.ID) })
	found := make([]view, len(sorted))
	for i, p := range sorted {
		found[i].Platform = p
		for _, rule := range p.Rules {
			commands := map[detect.Tier]*[]string{detect.Explicit: &found[i].Rules, detect.Random: &found[i].Randoms, detect.Fallback: &found[i].Fallbacks}[rule.Tier()]
			*commands = append(*commands, command(rule))
		}
		for _, other := range sorted {
			if other.ID != p.ID && slices.Contains(other.AmbiguousWith, p.ID) {
				found[i].Alike = append(found[i].Alike, other.ID)
			}
		}
	}
	return found
}

// command returns a rule as a shell command.
func command(r detect.Rule) string {
	var parts []string
	add := func(what string, p detect.Pattern) {
		if p == "" {
			return
		}
		not := ""
		bare, negated := p.Negated()
		if negated {
			not = "! "
		}
		parts = append(parts, not+what+" "+quote(glob(bare)))
	}
	for _, field := range slices.Sorted(maps.Keys(r.DMI)) {
		add("dmi "+string(field), r.DMI[field])
	}
	add("kernel_argument", r.KernelArgument)
	add("disk_label", r.DiskLabel)
	add("hypervisor type", r.Hypervisor.Type)
	add("hypervisor uuid", r.Hypervisor.UUID)
	if r.Virt != "" { // last: it starts a program
		parts = append(parts, "virt "+string(r.Virt))
	}
	return strings.Join(parts, " && ")
}

// glob returns a pattern as a case-insensitive shell pattern.
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
