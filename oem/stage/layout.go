package stage

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/definition/recipe"
	"github.com/flatcar/oem-sysext/oem/target"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// checkLayout refuses what systemd-sysext would not or should not merge: paths outside its hierarchies, an os-release,
// and undeclared rights.
func checkLayout(t tree.Tree, parts []Part, base *target.Base, problems *Problems) {
	for _, e := range t {
		checkPlace(e, problems)
		checkRights(e, parts, base, problems)
	}
}

func checkPlace(e tree.Entry, problems *Problems) {
	if !isBelow(e.Path, "/usr") && !isBelow(e.Path, "/opt") {
		problems.add("%s is outside /usr and /opt; move or prune it", e.Path)
	}
	if e.Path == "/usr/lib/os-release" {
		problems.add("%s makes systemd refuse the image; prune it", e.Path)
	}
	if e.Type != tree.Symlink && e.Mode&0o002 != 0 {
		problems.add("%s has mode %04o and is world-writable; change the mode in the build, or prune it", e.Path, e.Mode)
	}
}

// Foreign checks a tree that no recipe made: like a recipe's tree, but no rights or replacements can be declared,
// and unprintable names and overlayfs xattrs are refused as well.
func Foreign(t tree.Tree, base *target.Base) []string {
	problems := &Problems{}
	for _, e := range t {
		if !utf8.ValidString(e.Path) || strings.ContainsFunc(e.Path, unicode.IsControl) {
			problems.add("%q has a name that cannot be printed; rename it in the extension's build", e.Path)
			continue
		}
		checkPlace(e, problems)
		if e.Type != tree.Symlink && e.Mode&specialBits != 0 {
			problems.add("%s has mode %04o (setuid or setgid); remove it in the extension's build", e.Path, e.Mode)
		}
		if e.UID != 0 || e.GID != 0 {
			problems.add("%s has the owner %d:%d, an id that may differ between machines; wanted 0:0", e.Path, e.UID, e.GID)
		}
		if _, has := e.Xattrs[capabilityXattr]; has {
			problems.add("%s has capabilities; remove them in the extension's build", e.Path)
		}
		if e.Type == tree.Symlink && leadsOut(e) {
			problems.add("%s is a link to %q, which leads outside the merged tree; remove it in the extension's build", e.Path, e.Target)
		}
		below, there := base.Usr.Find(e.Path)
		sameDir := e.Type == tree.Dir && below.Type == tree.Dir && e.Mode == below.Mode
		if there && !sameDir && !e.Equal(below) {
			problems.add("%s differs from the base's (%v | base %v); remove it in the extension's build", e.Path, e, below)
		}
	}
	for _, hiding := range check.Together([]check.Named{{Name: "the image", Tree: t}}) {
		problems.add("%v", hiding)
	}
	return problems.Found
}

func isBelow(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

const (
	specialBits     = 0o6000 // setuid and setgid
	capabilityXattr = "security.capability"
)

// leadsOut tells whether a link climbs above the root, or leads outside the OS, its configuration and its state.
func leadsOut(e tree.Entry) bool {
	target := e.Target
	if !path.IsAbs(target) {
		if relative := path.Join(strings.TrimPrefix(path.Dir(e.Path), "/"), target); relative == ".." || strings.HasPrefix(relative, "../") {
			return true
		}
		target = path.Join(path.Dir(e.Path), target)
	}
	places := []string{"/usr", "/opt", "/etc", "/run", "/var", "/dev", "/proc", "/sys", "/bin", "/sbin", "/lib", "/lib64"}
	return !slices.ContainsFunc(places, func(dir string) bool { return isBelow(path.Clean(target), dir) })
}

// checkRights refuses undeclared rights.
func checkRights(e tree.Entry, parts []Part, base *target.Base, problems *Problems) {
	special, file := recipe.Special{}, "the platform"
	if r := owner(e.Path, parts); r != nil {
		file = r.File
		for name, declared := range r.Special {
			if base.Place(name) == e.Path {
				special = declared
			}
		}
	}
	undeclared := func(has, field string) {
		problems.add("%s has %s; if intended, declare special: {%s: {%s}} in %s, else prune it", e.Path, has, e.Path, field, file)
	}
	if e.Type != tree.Symlink && e.Mode&specialBits != 0 && special.Mode == 0 {
		undeclared(fmt.Sprintf("mode %04o", e.Mode), fmt.Sprintf(`mode: "%04o"`, e.Mode))
	}
	if (e.UID != 0 || e.GID != 0) && special.Owner == (recipe.Owner{}) {
		undeclared(fmt.Sprintf("the owner %d:%d", e.UID, e.GID), "owner: USER:GROUP")
	}
	if _, has := e.Xattrs[capabilityXattr]; has && len(special.Capabilities) == 0 {
		undeclared("capabilities", "capabilities: [cap_…]")
	}
}
