package stage

import (
	"fmt"
	"strings"

	"github.com/flatcar/oem-sysext/oem/recipe"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// checkLayout refuses what systemd-sysext would not merge, or should not: what is outside its hierarchies, an os-release,
// and rights that no recipe declares.
func checkLayout(t tree.Tree, parts []Part, problems *Problems) {
	for _, e := range t {
		if !isBelow(e.Path, "/usr") && !isBelow(e.Path, "/opt") {
			problems.add("%s is outside /usr and /opt; move or prune it", e.Path)
		}
		if e.Path == "/usr/lib/os-release" {
			problems.add("%s makes systemd refuse the image; prune it", e.Path)
		}
		if e.Type != tree.Symlink && e.Mode&0o002 != 0 {
			problems.add("%s has mode %04o, so everyone may write it; take that away where it is made, or prune it", e.Path, e.Mode)
		}
		checkRights(e, parts, problems)
	}
}

func isBelow(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

const (
	specialBits     = 0o6000 // setuid and setgid
	capabilityXattr = "security.capability"
)

// checkRights refuses rights that nobody declared.
func checkRights(e tree.Entry, parts []Part, problems *Problems) {
	special, file := recipe.Special{}, "the platform"
	if r := owner(e.Path, parts); r != nil {
		special, file = r.Special[e.Path], r.File
	}
	undeclared := func(has, field string) {
		problems.add("%s has %s; say special: {%s: {%s}} in %s if that is meant, or prune it", e.Path, has, e.Path, field, file)
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
