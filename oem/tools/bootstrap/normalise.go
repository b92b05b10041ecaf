package bootstrap

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// leftovers are patterns of files that depend on where and when the root was made.
// mmdebstrap already empties /run, /tmp and /etc/machine-id.
var leftovers = []string{
	"etc/hostname", // the host's
	"etc/.resolv.conf.systemd-resolved.bak",
	"etc/apt/sources.list", // the mirror's address
	"etc/apt/sources.list.d/*",
	"etc/apt/apt.conf.d/99mmdebstrap",  // our --aptopt
	"etc/dpkg/dpkg.cfg.d/99mmdebstrap", // our --dpkgopt
	"etc/ssh/ssh_host_*",               // random; a machine makes its own
	"etc/.pwd.lock",
	"etc/*-", // backups such as passwd-
	"var/lib/dpkg/*-old",
	"var/lib/dpkg/lock*",
	"var/lib/dpkg/triggers/Lock",
	"var/lib/systemd/catalog/database", // carries time stamps; rebuilt at boot
	"var/lib/apt/*",
	"var/cache/*/*",
	"var/log/*",
	"boot/initrd.img*", // made by a kernel hook before all packages were installed
	"initrd.img*",
	"vmlinuz*",
}

// normalise makes dir depend on the packages only.
func normalise(dir string, epoch time.Time) error {
	for _, pattern := range leftovers {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	if err := removeCopiedResolvConf(dir); err != nil {
		return err
	}
	return ClampTimes(dir, epoch)
}

// removeCopiedResolvConf removes a copy of the host's file. A link is systemd-resolved's and stays.
func removeCopiedResolvConf(dir string) error {
	path := filepath.Join(dir, "etc/resolv.conf")
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}

// ClampTimes sets modification times after epoch to epoch. Older ones, from packages, stay.
func ClampTimes(dir string, epoch time.Time) error {
	stamp := unix.NsecToTimespec(epoch.UnixNano())
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil || !info.ModTime().After(epoch) {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{stamp, stamp}, unix.AT_SYMLINK_NOFOLLOW)
	})
}
