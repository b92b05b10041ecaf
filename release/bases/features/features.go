// Package features says what a version of systemd can do, as far as releases depend on it.
package features

import (
	"fmt"
	"strconv"
	"strings"
)

// Features is what the systemd of a base can do.
type Features struct {
	Systemd int    // the first number of its version; 0 when that is unknown
	version string // as the base has it
}

// The versions of systemd from which on it can do something.
const (
	versionDirsSince   = 256 // NAME.raw.v/ holds versions of an image (systemd.v(7))
	transferNamesSince = 257 // systemd-sysupdate reads *.transfer instead of *.conf (sysupdate.d(5))
	signedImagesSince  = 258 // Flatcar's own images are signed DDIs since it has this version
	initrdMergeSince   = 258 // systemd-sysext-initrd.service merges in an initramfs, for the system behind it
)

// Of returns the features of a version such as 257.13 or 258~rc1.
func Of(version string) Features {
	digits := len(version) - len(strings.TrimLeft(version, "0123456789"))
	number, err := strconv.Atoi(version[:digits])
	if err != nil {
		number = 0
	}
	return Features{number, version}
}

// Check returns an error when the version is unknown.
func (f Features) Check() error {
	if f.Systemd == 0 {
		return fmt.Errorf("the base has systemd %q, which is no version", f.version)
	}
	return nil
}

// VersionDirs tells whether versions of an image may lie in a directory NAME.raw.v.
func (f Features) VersionDirs() bool { return f.Systemd >= versionDirsSince }

// TransferNames tells whether definitions of transfers are called *.transfer.
func (f Features) TransferNames() bool { return f.Systemd >= transferNamesSince }

// SignedImages tells whether the base's own images are signed.
func (f Features) SignedImages() bool { return f.Systemd >= signedImagesSince }

// InitrdMerge tells whether an initramfs has a unit of its own that merges for the system behind it.
func (f Features) InitrdMerge() bool { return f.Systemd >= initrdMergeSince }
