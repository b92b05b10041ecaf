package check

import (
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/tree"
)

// Reader reads files of /usr once, when a machine starts and before images are merged into the running system. Where an initramfs merges
// them, they are there in time.
type Reader struct {
	Dir      string   // where the files lie
	Suffixes []string // how they end
	Name     string   // who reads them
	// Again is the command after which they have been read again; empty where nothing but a boot does.
	Again string
	// Setup tells that oem-setup has them read again by itself.
	Setup bool
}

// readers are all readers, by their manual pages: sysctl.d(5), modules-load.d(5), binfmt.d(5), systemd.network(5), systemd.netdev(5),
// systemd.link(5), networkd.conf(5), resolved.conf(5), timesyncd.conf(5), journald.conf(5), logind.conf(5), systemd-system.conf(5), hwdb(7),
// udev(7), systemd.preset(5), dbus-daemon(1). What is read whenever it is used, such as sleep.conf(5), coredump.conf(5), pam.d(5), and what
// daemon-reload reads, is none. The same holds for all bases: they all merge images in systemd-sysext.service.
var readers = []Reader{
	{Dir: "/usr/lib/sysctl.d", Suffixes: []string{".conf"}, Name: "systemd-sysctl", Again: "/usr/lib/systemd/systemd-sysctl"},
	{Dir: "/usr/lib/modules-load.d", Suffixes: []string{".conf"}, Name: "systemd-modules-load", Again: "/usr/lib/systemd/systemd-modules-load"},
	{Dir: "/usr/lib/binfmt.d", Suffixes: []string{".conf"}, Name: "systemd-binfmt", Again: "/usr/lib/systemd/systemd-binfmt"},
	{Dir: "/usr/lib/systemd/network", Suffixes: []string{".network", ".netdev"}, Name: "systemd-networkd", Again: "/usr/bin/networkctl reload"},
	{Dir: "/usr/lib/systemd/networkd.conf.d", Suffixes: []string{".conf"}, Name: "systemd-networkd", Again: restart("systemd-networkd.service")},
	{Dir: "/usr/lib/systemd/resolved.conf.d", Suffixes: []string{".conf"}, Name: "systemd-resolved", Again: restart("systemd-resolved.service")},
	{Dir: "/usr/lib/systemd/timesyncd.conf.d", Suffixes: []string{".conf"}, Name: "systemd-timesyncd", Again: restart("systemd-timesyncd.service")},
	{Dir: "/usr/share/dbus-1/system.d", Suffixes: []string{".conf"}, Name: "the system bus", Again: "/usr/bin/systemctl reload dbus.service"},
	{Dir: "/usr/lib/udev/rules.d", Suffixes: []string{".rules"}, Name: "systemd-udevd", Setup: true},
	{Dir: "/usr/lib/systemd/network", Suffixes: []string{".link"}, Name: "systemd-udevd, when the interface appears"},
	{Dir: "/usr/lib/udev/hwdb.d", Suffixes: []string{".hwdb"}, Name: "systemd-hwdb, which compiles them when the OS is made"},
	{Dir: "/usr/lib/systemd/journald.conf.d", Suffixes: []string{".conf"}, Name: "systemd-journald"},
	{Dir: "/usr/lib/systemd/logind.conf.d", Suffixes: []string{".conf"}, Name: "systemd-logind"},
	{Dir: "/usr/lib/systemd/system.conf.d", Suffixes: []string{".conf"}, Name: "the service manager"},
	{Dir: "/usr/lib/systemd/system-preset", Suffixes: []string{".preset"}, Name: "the service manager, in the first boot"},
}

func restart(unit string) string { return "/usr/bin/systemctl try-restart " + unit }

// readerOf returns who reads a file before images are merged, or nil.
func readerOf(e tree.Entry) *Reader {
	if e.Type == tree.Dir {
		return nil
	}
	at := slices.IndexFunc(readers, func(r Reader) bool { return r.reads(e.Path) })
	if at < 0 {
		return nil
	}
	return &readers[at]
}

// reads tells whether a file is one of the reader's, or a drop-in for one.
func (r Reader) reads(name string) bool {
	dir := path.Dir(name)
	if slices.Contains(r.Suffixes, path.Ext(name)) && dir == r.Dir {
		return true
	}
	of, isDropIn := strings.CutSuffix(dir, ".d")
	return isDropIn && path.Ext(name) == ".conf" && path.Dir(of) == r.Dir && slices.Contains(r.Suffixes, path.Ext(of))
}

// setupUnit applies to a machine what an image brings too late.
const setupUnit = unitDir + "/oem-setup.service"

// ReadAgain returns the commands after which the files of a tree have been read that were not there in time, for a tree that has the
// unit which runs them.
func ReadAgain(t tree.Tree) []string {
	if _, has := t.Find(setupUnit); !has {
		return nil
	}
	var commands []string
	for _, e := range t {
		if r := readerOf(e); r != nil && r.Again != "" && !slices.Contains(commands, r.Again) {
			commands = append(commands, r.Again)
		}
	}
	slices.Sort(commands)
	return commands
}

// ReadAgainFile is the path of the drop-in that an image brings with these commands.
func ReadAgainFile(image string) string { return setupUnit + ".d/20-" + image + ".conf" }

// late reports files that are there too late for who reads them.
func (c *check) late() error {
	again, err := c.setupCommands()
	if err != nil {
		return err
	}
	_, has := c.view.image.Find(setupUnit)
	for _, e := range c.view.image {
		r := readerOf(e)
		switch {
		case r == nil, r.Setup && has, r.Again != "" && strings.Contains(again, r.Again):
		case r.Setup || r.Again != "":
			c.addRuntime(e.Path, "is read by %s, before images are merged; add needs: [oem-setup], which has it read again", r.Name)
		default:
			c.addRuntime(e.Path, "is read by %s, before images are merged, and not again; prune it, or set the same by a unit", r.Name)
		}
	}
	return nil
}

// setupCommands returns the text of the image's drop-ins for oem-setup.
func (c *check) setupCommands() (string, error) {
	var all strings.Builder
	for _, e := range c.view.image.Under(setupUnit + ".d") {
		if e.Type != tree.File {
			continue
		}
		content, err := c.view.read(e)
		if err != nil {
			return "", err
		}
		all.WriteString(content)
	}
	return all.String(), nil
}
