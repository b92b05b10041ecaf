package binpkg

import (
	"archive/tar"
	"crypto/sha1" //nolint:gosec // indexes have no better digest; the pinned SHA-256 counts
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/archive"
)

// Limits and sizes of the trailing xpak segment (xpak(5)).
const (
	maxXpak    = 64 << 20 // environment.bz2 and an ebuild are some 100 KB
	trailer    = 8        // length of the segment, "STOP"
	xpakHeader = 16       // "XPAKPACK", length of the index, length of the data
	xpakStop   = 8        // "XPAKSTOP"
)

// Unpack unpacks the files of a package into root whose path, such as "usr/bin/x", keep accepts,
// with the checks of package archive.
func Unpack(file string, root *os.Root, keep func(path string) bool) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	length, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	start, err := findXpak(in, length)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return archive.Tar(io.NewSectionReader(in, 0, start), root, archive.Options{
		Name: filepath.Base(file),
		Keep: func(header *tar.Header) bool { return keep(header.Name) },
	})
}

// findXpak checks the segment and returns its offset, which is the end of the archive.
func findXpak(in io.ReaderAt, length int64) (start int64, err error) {
	end := make([]byte, trailer)
	if _, err := in.ReadAt(end, max(0, length-trailer)); err != nil || string(end[4:]) != "STOP" {
		return 0, errors.New("not a package, or truncated: no xpak segment at the end")
	}
	segment := int64(binary.BigEndian.Uint32(end))
	start = length - trailer - segment
	if segment < xpakHeader+xpakStop || segment > maxXpak || start < 0 {
		return 0, fmt.Errorf("its xpak segment has %d bytes", segment)
	}
	header := make([]byte, xpakHeader)
	if _, err := in.ReadAt(header, start); err != nil {
		return 0, err
	}
	stop := make([]byte, xpakStop)
	if _, err := in.ReadAt(stop, start+segment-xpakStop); err != nil {
		return 0, err
	}
	parts := int64(binary.BigEndian.Uint32(header[8:])) + int64(binary.BigEndian.Uint32(header[12:]))
	if string(header[:8]) != "XPAKPACK" || string(stop) != "XPAKSTOP" || parts != segment-xpakHeader-xpakStop {
		return 0, errors.New("its xpak segment is damaged")
	}
	return start, nil
}

// CheckSHA1 compares a downloaded package with the digest in the index.
func (p *Package) CheckSHA1(path string) error {
	if p.SHA1 == "" {
		return nil
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	hash := sha1.New() //nolint:gosec // see the import
	if _, err := io.Copy(hash, in); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != p.SHA1 {
		return fmt.Errorf("%s has the SHA-1 %s; the index says %s", p.File, got, p.SHA1)
	}
	return nil
}
