// Package initrd holds the targets in the namespace initrd.
package initrd

import (
	"os"

	"github.com/flatcar/oem-sysext/release"
)

// List shows what is in an initramfs, and the first rule that it breaks.
//
// The argument is a file as boot loaders pass it to a kernel: archives, compressed or not, one behind the other.
// It is only read.
func List(file string) error { return release.ListInitrd(file, os.Stdout) }
