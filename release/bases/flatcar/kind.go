package flatcar

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/host/sparse"
	"github.com/flatcar/oem-sysext/release/format/cpio"
)

// kind is what a file holds, told by its content.
type kind string

const (
	disk       kind = "disk image"
	partition  kind = "USR partition"
	squashfs   kind = "squashfs image"
	archive    kind = "cpio archive"
	compressed kind = "compressed file"
)

// maxImage is how long an image may be once it is uncompressed. Disk images have about 9 GiB, most of it empty.
const maxImage = 16 * size.GiB

// Where a file's kind shows.
var marks = []struct {
	kind   kind
	offset int64
	magic  string
}{
	{compressed, 0, "BZh"},
	{compressed, 0, "\x1f\x8b"},
	{squashfs, 0, "hsqs"},
	{archive, 0, "070701"},
	{archive, 0, "070702"},
	{disk, 512, "EFI PART"},
	{partition, 64<<10 + 64, "_BHRfS_M"},
}

// identify tells what a file holds. Behind a partition table and a file system's superblock there is more to check.
func identify(f *os.File) (kind, error) {
	head := make([]byte, 128<<10)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	for _, m := range marks {
		if int64(n) > m.offset && bytes.HasPrefix(head[m.offset:], []byte(m.magic)) {
			return m.kind, nil
		}
	}
	if n > 1082 && head[1080] == 0x53 && head[1081] == 0xef {
		return "", errors.New("byte 1080: an ext2 file system, as Flatcar's /usr was before 2022; wanted btrfs")
	}
	return "", fmt.Errorf("unknown content, beginning with %.16q; wanted a disk image (%q at byte 512), a USR partition (btrfs, %q at byte %d), "+
		"a cpio archive, a squashfs image, or one of them compressed with bzip2 or gzip", head, "EFI PART", "_BHRfS_M", 64<<10+64)
}

// uncompress writes to a new file what a bzip2 or gzip file holds, with holes where it is empty.
// It streams, and stops at maxImage. Files may be made of several streams one after the other, as lbzip2 writes them.
func uncompress(in *os.File, to string) (err error) {
	counted := &counter{in: in}
	content := bzip2.NewReader(counted)
	head := make([]byte, 2)
	if _, err := in.ReadAt(head, 0); err == nil && head[0] == 0x1f {
		if content, err = gzip.NewReader(counted); err != nil {
			return err
		}
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	n, err := sparse.Copy(out, io.LimitReader(content, int64(maxImage)+1))
	if err != nil {
		return fmt.Errorf("damaged compressed data before byte %d: %w", counted.n, err)
	}
	if n > int64(maxImage) {
		return fmt.Errorf("more than %v once it is uncompressed", maxImage)
	}
	return nil
}

// counter tells how much was read.
type counter struct {
	in io.Reader
	n  int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	return n, err
}

// squashfsName is what the network-boot archive calls its /usr.
const squashfsName = "usr.squashfs"

// takeSquashfs writes to a new file the usr.squashfs of a network-boot archive.
func takeSquashfs(in io.Reader, to string) (err error) {
	members := cpio.NewReader(in)
	for {
		h, err := members.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the archive has no %s; wanted one for network boot", squashfsName)
		}
		if err != nil {
			return err
		}
		if filepath.Clean("/"+h.Name) != "/"+squashfsName {
			continue
		}
		if h.Mode&cpio.ModeType != cpio.ModeFile {
			return fmt.Errorf("byte %d: %s has the mode %#o; wanted a regular file", h.Offset, squashfsName, h.Mode)
		}
		break
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = sparse.Copy(out, members)
	return errors.Join(err, out.Close())
}
