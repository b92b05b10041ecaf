// Package fleet has the machines that exist: the states that the OEM part of a Flatcar machine can be in before it is updated to a
// release that embeds its OEM tools, and what its user may have done.
package fleet

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Versions are those of an update. Machines may also have what was left by an earlier release.
type Versions struct{ Earlier, Old, New string }

// Image is a file that is an extension image.
type Image struct {
	Version string // that it is for
	Own     bool   // the user's, not Flatcar's
}

// File is a file, a link or an image on a machine.
type File struct {
	Text   string
	Target string // of a link
	Image  *Image
}

// Files are by path: below /oem on the OEM partition, others on the root partition. A path that ends in a slash is an empty directory.
type Files map[string]File

// State is one that the OEM part of a machine can be in.
type State struct {
	Name      string
	How       string   // how it came about
	Files     Files    // of the OEM partition and the root partition
	Arguments []string // of the kernel
	Marked    bool     // Flatcar's own code takes the tools from an image
}

// States returns all states that machines of a cloud are in.
func States(id string, v Versions) []State {
	release := Files{"/oem/oem-release": {Text: "ID=" + id + "\n"}}
	marker := Files{"/oem/sysext/active-oem-" + id: {}}
	image := func(dir, version string) Files {
		return Files{path.Join(dir, "oem-"+id+"-"+version+".raw"): {Image: &Image{Version: version}}}
	}
	const onOEM, onRoot = "/oem/sysext", "/etc/flatcar/oem-sysext"
	link := func(dir string) Files {
		return Files{"/etc/extensions/oem-" + id + ".raw": {Target: path.Join(dir, "oem-"+id+"-"+v.Old+".raw")}}
	}
	argument := []string{"flatcar.oem.id=" + id}
	return []State{
		{Name: "fresh", How: "from an official image, before its first boot", Marked: true, Arguments: argument,
			Files: join(release, marker, image(onOEM, v.Old))},
		{Name: "vendor", How: "from an official image, after a boot", Marked: true, Arguments: argument,
			Files: join(release, marker, image(onOEM, v.Old), link(onOEM))},
		{Name: "updated", How: "after an update with a payload for the OEM tools", Marked: true, Arguments: argument,
			Files: join(release, marker, image(onOEM, v.Earlier), image(onOEM, v.Old), link(onOEM))},
		{Name: "delivered", How: "after a boot, with a payload for the release that it is updated to", Marked: true, Arguments: argument,
			Files: join(release, marker, image(onOEM, v.Old), image(onOEM, v.New), link(onOEM))},
		{Name: "payload on root", How: "after an update for which the OEM partition was full", Marked: true, Arguments: argument,
			Files: join(release, marker, image(onOEM, v.Earlier), image(onRoot, v.Old), link(onRoot))},
		{Name: "unmarked", How: "from an image older than OEM images", Arguments: argument,
			Files: join(release, Files{"/oem/bin/agent": {Text: "#!/bin/sh\n"}, "/oem/base/": {}})},
		{Name: "migrated", How: "from CoreOS", Arguments: []string{"coreos.oem.id=" + id}, Files: Files{"/oem/grub.cfg": {Text: "set oem_id=" + id + "\n"}}},
		{Name: "born ours", How: "from a disk image of this pipeline", Arguments: argument, Files: release},
	}
}

// Wish is what a user has done about the cloud's tools.
type Wish struct {
	Name  string
	Files Files
	Away  bool // no embedded image is to be merged
	Full  bool // there is no room on the OEM partition
}

// Wishes returns all that users do. Where Flatcar's own code has a link of its own at a place, it replaces what is the user's there.
func Wishes(id string, v Versions) []Wish {
	return []Wish{
		{Name: "none"},
		{Name: "link to an image for another version", Files: Files{
			"/etc/extensions/oem-" + id + ".raw":        {Target: "/opt/oem-" + id + "-" + v.Earlier + ".raw"},
			"/opt/oem-" + id + "-" + v.Earlier + ".raw": {Image: &Image{Version: v.Earlier, Own: true}},
			"/etc/flatcar/oem-sysext.conf":              {Text: "# nothing\r\n"},
		}},
		{Name: "image", Away: true, Files: Files{"/var/lib/extensions/oem-" + id + ".raw": {Image: &Image{Version: v.New, Own: true}}}},
		{Name: "mask", Away: true, Files: Files{"/var/lib/extensions/oem-" + id + "/": {}}},
		{Name: "switched off", Away: true, Files: Files{"/etc/flatcar/enabled-sysext.conf": {Text: "-oem-" + id}}},
		{Name: "full OEM partition", Full: true},
	}
}

func join(all ...Files) Files {
	joined := Files{}
	for _, files := range all {
		maps.Copy(joined, files)
	}
	return joined
}

// Paths returns the paths in their order.
func (f Files) Paths() []string { return slices.Sorted(maps.Keys(f)) }

// StateOf tells which of the states a machine is in, by the files below its root directory.
func StateOf(root *os.Root, id string, v Versions) State {
	there := func(name string) bool {
		_, err := root.Lstat(name)
		return err == nil
	}
	link, _ := root.Readlink("etc/extensions/oem-" + id + ".raw")
	images, _ := fs.Glob(root.FS(), "oem/sysext/oem-"+id+"-*.raw")
	name := "born ours"
	switch marked := there("oem/sysext/active-oem-" + id); {
	case marked && v.New != v.Old && Delivered(root, id, v.New):
		name = "delivered"
	case marked && strings.HasPrefix(link, "/etc/flatcar/oem-sysext/"):
		name = "payload on root"
	case marked && strings.HasPrefix(link, "/oem/sysext/") && len(images) > 1:
		name = "updated"
	case marked && strings.HasPrefix(link, "/oem/sysext/"):
		name = "vendor"
	case marked:
		name = "fresh"
	case !there("oem/oem-release") && there("oem/grub.cfg"):
		name = "migrated"
	case hasTools(root):
		name = "unmarked"
	}
	states := States(id, v)
	return states[slices.IndexFunc(states, func(s State) bool { return s.Name == name })]
}

// hasTools tells whether the OEM partition has more than what says which cloud it is.
func hasTools(root *os.Root) bool {
	entries, _ := fs.ReadDir(root.FS(), "oem")
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return !slices.Contains([]string{"oem-release", "grub.cfg", "sysext", "lost+found"}, e.Name())
	})
}

// Delivered tells whether a machine has Flatcar's image for a release.
func Delivered(root *os.Root, id, version string) bool {
	for _, dir := range []string{"oem/sysext", "etc/flatcar/oem-sysext"} {
		if _, err := root.Lstat(path.Join(dir, "oem-"+id+"-"+version+".raw")); err == nil {
			return true
		}
	}
	return false
}
