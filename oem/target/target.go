// Package target describes the OS release that images are built for, as far as building needs to know it.
package target

import (
	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// Base is an OS release.
type Base struct {
	Name      string    // what lock files call it, such as trixie; two versions of one base have one name
	ID        string    // os-release ID=
	VersionID string    // os-release VERSION_ID=, which an extension must repeat
	Arch      arch.Arch //
	Usr       tree.Tree // what its /usr holds
	Dir       string    // where the files of Usr lie: a directory that becomes /usr
	Kernel    KernelConfig
	Status    []byte // its package database in dpkg's status format; empty when it has none
	Gentoo    []byte // its list of Gentoo packages, one CATEGORY/NAME-VERSION a line; empty when it has none
}
