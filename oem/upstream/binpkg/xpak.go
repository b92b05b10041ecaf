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
	"regexp"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/archive"
	"github.com/flatcar/oem-sysext/oem/host/foreign"
)

// Limits and sizes of the trailing xpak segment (xpak(5)).
const (
	maxXpak    = 64 << 20 // environment.bz2 and an ebuild are some 100 KB
	trailer    = 8        // length of the segment, "STOP"
	xpakHeader = 16       // "XPAKPACK", length of the index, length of the data
	xpakStop   = 8        // "XPAKSTOP"
)

// Identity is what a package says that it is.
type Identity struct {
	CPN, Version string
	Arch         arch.Arch
}

// Unpack unpacks the files of a package into root whose path, such as "usr/bin/x", keep accepts,
// with the checks of package archive. The package must say that it is the wanted one.
func Unpack(file string, is Identity, root *os.Root, keep func(path string) bool) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	length, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	start, entries, err := readXpak(in, length)
	if err == nil {
		err = is.check(entries)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return archive.Tar(io.NewSectionReader(in, 0, start), root, archive.Options{
		Name: filepath.Base(file),
		Keep: func(header *tar.Header) bool { return keep(header.Name) },
	})
}

// check compares the identity with the entries of a package. What Portage built has all of them.
func (is Identity) check(entries map[string]string) error {
	machines := map[arch.Arch]string{arch.AMD64: "x86_64", arch.ARM64: "aarch64"}
	category, name, _ := strings.Cut(is.CPN, "/")
	for _, entry := range []struct{ name, want string }{{"CATEGORY", category}, {"PF", name + "-" + is.Version}, {"CHOST", machines[is.Arch]}} {
		got, isLine := strings.CutSuffix(entries[entry.name], "\n")
		if !isLine || foreign.Check(got) != nil {
			return fmt.Errorf("xpak entry %s: %.80q; wanted one line", entry.name, entries[entry.name])
		}
		if entry.name == "CHOST" {
			got, _, _ = strings.Cut(got, "-") // the machine, then maker and system
		}
		if got != entry.want {
			return fmt.Errorf("xpak entry %s: %s; wanted %s", entry.name, got, entry.want)
		}
	}
	return nil
}

// readXpak reads the segment. It returns its offset, which is the end of the archive, and its entries.
func readXpak(in io.ReaderAt, length int64) (start int64, entries map[string]string, err error) {
	start, segment, indexLength, err := findXpak(in, length)
	if err != nil {
		return 0, nil, err
	}
	all := make([]byte, segment)
	if _, err := in.ReadAt(all, start); err != nil {
		return 0, nil, err
	}
	index, data := all[xpakHeader:xpakHeader+indexLength], all[xpakHeader+indexLength:segment-xpakStop]
	entries, err = parseXpak(index, data)
	return start, entries, err
}

// entryName is what entries are called: files in a directory of Portage's.
var entryName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]*$`)

// parseXpak reads the entries: length of the name, name, offset and length in the data. They lie one after the other.
func parseXpak(index, data []byte) (map[string]string, error) {
	entries, next := map[string]string{}, int64(0)
	number := func(b []byte) int64 { return int64(binary.BigEndian.Uint32(b)) }
	for len(index) > 0 {
		if len(index) < 4 || number(index) > int64(len(index))-12 {
			return nil, errors.New("its xpak segment is damaged: an entry is longer than the index")
		}
		n := number(index)
		name, offset, length := string(index[4:4+n]), number(index[4+n:]), number(index[8+n:])
		index = index[12+n:]
		_, twice := entries[name]
		switch {
		case !entryName.MatchString(name):
			return nil, fmt.Errorf("xpak entry %.80q: wanted the name of a file", name)
		case twice:
			return nil, fmt.Errorf("xpak entry %s: is there twice", name)
		case offset != next || length > int64(len(data))-offset:
			return nil, fmt.Errorf("xpak entry %s: is at bytes %d to %d of %d; wanted it behind the one before it, which ends at %d", name, offset, offset+length, len(data), next)
		}
		next = offset + length
		entries[name] = string(data[offset:next])
	}
	if next != int64(len(data)) {
		return nil, fmt.Errorf("its xpak segment is damaged: %d bytes belong to no entry", int64(len(data))-next)
	}
	return entries, nil
}

// findXpak checks the segment and returns its offset and length, and the length of its index.
func findXpak(in io.ReaderAt, length int64) (start, segment, index int64, err error) {
	end := make([]byte, trailer)
	if _, err := in.ReadAt(end, max(0, length-trailer)); err != nil || string(end[4:]) != "STOP" {
		return 0, 0, 0, errors.New("not a package, or truncated: no xpak segment at the end")
	}
	segment = int64(binary.BigEndian.Uint32(end))
	start = length - trailer - segment
	if segment < xpakHeader+xpakStop || segment > maxXpak || start < 0 {
		return 0, 0, 0, fmt.Errorf("its xpak segment has %d bytes", segment)
	}
	header := make([]byte, xpakHeader)
	if _, err := in.ReadAt(header, start); err != nil {
		return 0, 0, 0, err
	}
	stop := make([]byte, xpakStop)
	if _, err := in.ReadAt(stop, start+segment-xpakStop); err != nil {
		return 0, 0, 0, err
	}
	index = int64(binary.BigEndian.Uint32(header[8:]))
	parts := index + int64(binary.BigEndian.Uint32(header[12:]))
	if string(header[:8]) != "XPAKPACK" || string(stop) != "XPAKSTOP" || parts != segment-xpakHeader-xpakStop {
		return 0, 0, 0, errors.New("its xpak segment is damaged")
	}
	return start, segment, index, nil
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
