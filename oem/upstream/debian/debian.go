// Package debian knows packages of Debian: what they need, which are wanted, and how they are unpacked, without apt or dpkg.
//
// Package repository beside it says which packages an archive has, and fetches them.
//
// Formats: deb(5), deb822(5), deb-version(7).
package debian

import (
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Package is one binary package of an archive. It holds what Deb needs, so it can be kept in a lock file.
type Package struct {
	Name         string
	Version      string
	Architecture string // "all" or the architecture asked for
	Pocket       string // the suite or pocket that has it, such as trixie or trixie-security
	Filename     string // below the archive's address
	Size         size.Bytes
	SHA256       digest.SHA256
}
