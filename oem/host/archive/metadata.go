package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// setMetadata applies a header to an open file or directory.
// The owner comes first: changing it clears set-user-ID bits and capabilities.
func (x *extractor) setMetadata(file *os.File, header *tar.Header) error {
	if x.asRoot {
		if err := checkOwner(header); err != nil {
			return err
		}
		if err := file.Chown(header.Uid, header.Gid); err != nil {
			return err
		}
	}
	if err := setXattrs(file, header); err != nil {
		return err
	}
	const settable = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	if err := file.Chmod(header.FileInfo().Mode() & settable); err != nil {
		return err
	}
	return x.root.Chtimes(header.Name, header.ModTime, header.ModTime)
}

// setLinkMetadata sets owner and time of a symbolic link, which cannot be opened.
func (x *extractor) setLinkMetadata(header *tar.Header) (err error) {
	if x.asRoot {
		if err := checkOwner(header); err != nil {
			return err
		}
		if err := x.root.Lchown(header.Name, header.Uid, header.Gid); err != nil {
			return err
		}
	}
	parent, err := x.root.Open(path.Dir(header.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, parent.Close()) }()
	at := unix.NsecToTimespec(header.ModTime.UnixNano())
	return unix.UtimesNanoAt(int(parent.Fd()), path.Base(header.Name), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// checkOwner refuses ids that Linux does not have: to chown(2), -1 means "unchanged".
func checkOwner(header *tar.Header) error {
	for _, id := range []int{header.Uid, header.Gid} {
		if id < 0 || id >= math.MaxUint32 {
			return fmt.Errorf("belongs to user %d, group %d; ids are 0 to 2^32-2", header.Uid, header.Gid)
		}
	}
	return nil
}

// xattrPrefix is how PAX records name xattrs (star(5), "SCHILY.xattr").
const xattrPrefix = "SCHILY.xattr."

// setXattrs sets the xattrs that are valid on any machine.
// Security labels of the machine that made the archive are dropped. Others, such as trusted.overlay.*, would change
// how a merged tree behaves and are refused.
func setXattrs(file *os.File, header *tar.Header) error {
	for record, value := range header.PAXRecords {
		name, isXattr := strings.CutPrefix(record, xattrPrefix)
		switch {
		case !isXattr || name == "security.selinux":
			continue
		case name != "security.capability" && !strings.HasPrefix(name, "user."):
			return fmt.Errorf("has the xattr %q; wanted security.capability or user.*", name)
		}
		if err := unix.Fsetxattr(int(file.Fd()), name, []byte(value), 0); err != nil {
			return fmt.Errorf("set xattr %s: %w", name, err)
		}
	}
	return nil
}
