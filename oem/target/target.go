// Package target describes the OS release that images are built for.
package target

import (
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Base is an OS release.
type Base struct {
	Name      string    // name in lock files, such as trixie; the same for all versions of a base
	ID        string    // os-release ID=
	VersionID string    // os-release VERSION_ID=, which an extension must repeat
	Arch      arch.Arch //
	Usr       tree.Tree // its /usr
	Dir       string    // directory with the files of Usr
	Merged    tree.Tree // of the extension images that it merges by default, such as docker; the contents are among the blobs
	Kernel    KernelConfig
	Status    []byte // its package database in dpkg's status format; empty when it has none
	Gentoo    []byte // its list of Gentoo packages, one CATEGORY/NAME-VERSION a line; empty when it has none
}
