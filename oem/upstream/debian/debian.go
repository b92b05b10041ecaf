// Package debian resolves dependencies of Debian packages and unpacks them, without apt or dpkg.
//
// Package repository, below it, reads archives and downloads packages.
//
// Formats: deb(5), deb822(5), deb-version(7).
package debian

import (
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Package is one binary package of an archive, with everything needed to download it.
type Package struct {
	Name         string
	Version      string
	Architecture string // "all" or the architecture asked for
	Pocket       string // suite or pocket with the package, such as trixie or trixie-security
	Filename     string // path below the archive's address
	Size         size.Bytes
	SHA256       digest.SHA256
}
