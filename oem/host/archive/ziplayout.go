package archive

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A zip archive says everything twice: before each entry, and in its directory. Readers of streams believe the one, all others the
// other. checkLayout refuses archives in which they differ, and bytes that belong to neither (APPNOTE.TXT, 4.3.6 to 4.3.16).
// inOrder are the entries by position.
func checkLayout(file io.ReaderAt, length int64, comment string, inOrder []*zip.File, starts map[*zip.File]int64) error {
	end := int64(0) // where what comes next begins
	for _, entry := range inOrder {
		err := checkLocal(file, entry, starts[entry], end)
		if err == nil {
			end, err = endOf(file, entry, starts[entry]+int64(entry.CompressedSize64))
		}
		if err != nil {
			return fmt.Errorf("entry %q: %w", entry.Name, err)
		}
	}
	const directoryEnd = 22 // bytes without the comment (4.3.16)
	last := make([]byte, directoryEnd)
	if _, err := file.ReadAt(last, length-directoryEnd-int64(len(comment))); err != nil || string(last[:4]) != "PK\x05\x06" {
		return errTrailing
	}
	d := directoryOf(last)
	if d.large() {
		return nil // said elsewhere, for large archives
	}
	if d.at != end {
		return fmt.Errorf("%d bytes between the last entry and the directory", d.at-end)
	}
	if at := length - directoryEnd - int64(len(comment)); d.entries != len(inOrder) || d.disks != 0 || d.at+d.length != at {
		return fmt.Errorf("its end says that %d entries in %d bytes from byte %d on are all, on disk %d; wanted %d entries up to byte %d, on disk 0", d.entries, d.length, d.at, d.disks, len(inOrder), at)
	}
	return checkDirectory(file, d)
}

// directory is what the end of an archive says about the directory before it (4.3.16).
type directory struct {
	entries    int // -1: two numbers that differ
	at, length int64
	disks      int // all numbers of disks together
}

func directoryOf(end []byte) directory {
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(end[at:])) }
	d := directory{u16(10), int64(binary.LittleEndian.Uint32(end[16:])), int64(binary.LittleEndian.Uint32(end[12:])), u16(4) | u16(6)}
	if u16(8) != u16(10) {
		d.entries = -1
	}
	return d
}

// large tells whether there is another record, with larger fields (4.3.14).
func (d directory) large() bool {
	return d.entries == 1<<16-1 || d.at == 1<<32-1 || d.length == 1<<32-1
}

// checkDirectory checks the fields of the directory that package zip passes over (4.3.12).
func checkDirectory(file io.ReaderAt, d directory) error {
	content := make([]byte, d.length) // which package zip has read within its limit
	if _, err := file.ReadAt(content, d.at); err != nil {
		return err
	}
	const length, msDOS, unix, ntfs, vfat, macOS, kinds = 46, 0, 3, 10, 14, 19, 1<<0o0 | 1<<0o1 | 1<<0o2 | 1<<0o4 | 1<<0o6 | 1<<0o10 | 1<<0o12 | 1<<0o14
	for number := 1; len(content) > 0; number++ {
		if len(content) < length || string(content[:4]) != "PK\x01\x02" {
			return fmt.Errorf("entry %d of its directory has no header", number)
		}
		u16 := func(at int) int { return int(binary.LittleEndian.Uint16(content[at:])) }
		all := length + u16(28) + u16(30) + u16(32)
		if all > len(content) {
			return fmt.Errorf("entry %d of its directory is longer than the directory", number)
		}
		name := content[length : length+u16(28)]
		mode, isDir := u16(40), bytes.HasSuffix(name, []byte("/"))
		switch {
		case u16(34) != 0:
			return fmt.Errorf("entry %q: is on disk %d; wanted one file", name, u16(34))
		case u16(36)&^7 != 0:
			return fmt.Errorf("entry %q: has the internal attributes %#x; wanted at most 7", name, u16(36))
		case u16(6) > newestZip:
			return fmt.Errorf("entry %q: needs version %d.%d of the format; wanted at most %d.%d", name, u16(6)/10, u16(6)%10, newestZip/10, newestZip%10)
		case u16(8)&^knownFlags != 0:
			return fmt.Errorf("entry %q: has the flags %#x; wanted no others than %#x", name, u16(8), knownFlags)
		case !slices.Contains([]byte{msDOS, unix, ntfs, vfat, macOS}, content[5]):
			return fmt.Errorf("entry %q: was made by system %d; wanted MS-DOS, Windows, Unix or macOS", name, content[5])
		case !wholeExtra(content[length+u16(28):][:u16(30)]):
			return fmt.Errorf("entry %q: has extra fields that do not fit into their space", name)
		case content[5] != unix && content[5] != macOS && mode>>12 != 0 && mode>>12 != 4 && mode>>12 != 0o10:
			return fmt.Errorf("entry %q: has the mode %o, and is from a system without such files", name, mode)
		case content[5] == unix && (kinds>>(mode>>12)&1 == 0 || mode == 0 || isDir && mode>>12 != 0 && mode>>12 != 4 || !isDir && mode>>12 == 4):
			return fmt.Errorf("entry %q: has the mode %o, which no file of such a name has", name, mode)
		}
		if err := checkDate(u16(12), u16(14)); err != nil {
			return fmt.Errorf("entry %q: %w", name, err)
		}
		content = content[all:]
	}
	return nil
}

// newestZip is the newest version that an entry may need (4.4.3): 4.5 is that of large files, 4.6 of a compression we do not read.
const newestZip = 45

// knownFlags are those that change nothing (4.4.4): options of the compression, sizes behind the content, UTF-8.
const knownFlags = 1<<1 | 1<<2 | hasDescriptor | 1<<11

// wholeExtra tells whether extra fields fill their space.
func wholeExtra(extra []byte) bool {
	for len(extra) >= 4 {
		end := 4 + int(binary.LittleEndian.Uint16(extra[2:]))
		if end > len(extra) {
			return false
		}
		extra = extra[end:]
	}
	return len(extra) == 0
}

// checkDate refuses a time that there is not, other than none at all.
func checkDate(clock, date int) error {
	month, day := date>>5&15, date&31
	if clock|date != 0 && (month < 1 || month > 12 || day < 1 || clock>>11 > 23 || clock>>5&63 > 59 || clock&31 > 29) {
		return fmt.Errorf("has the date %#x and the time %#x, which are none (MS-DOS)", date, clock)
	}
	return nil
}

// endOf returns where an entry ends whose content ends at a byte. Where sum and sizes come behind it, they are those of the directory:
// 4 or 8 bytes for each size, with or without a signature before them (4.3.9).
func endOf(file io.ReaderAt, entry *zip.File, at int64) (int64, error) {
	if entry.Flags&hasDescriptor == 0 {
		return at, nil
	}
	behind := make([]byte, 24)
	n, err := file.ReadAt(behind, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	for _, signature := range []string{"PK\x07\x08", ""} {
		sum := binary.LittleEndian.AppendUint32([]byte(signature), entry.CRC32)
		small := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(bytes.Clone(sum), uint32(entry.CompressedSize64)), uint32(entry.UncompressedSize64))
		large := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(bytes.Clone(sum), entry.CompressedSize64), entry.UncompressedSize64)
		for _, form := range [][]byte{large, small} {
			if bytes.HasPrefix(behind[:n], form) {
				return at + int64(len(form)), nil
			}
		}
	}
	return 0, errors.New("what comes behind its content has other sizes or another sum than the directory")
}

const hasDescriptor = 8 // APPNOTE.TXT, 4.4.4

// checkLocal compares an entry of the directory with the header before its content, which begins at a byte.
func checkLocal(file io.ReaderAt, entry *zip.File, start, at int64) error {
	const length = 30 // before name and extra fields (4.3.7)
	head := make([]byte, max(0, min(start-at, length+1<<17)))
	if _, err := file.ReadAt(head, at); err != nil || len(head) < length || string(head[:4]) != "PK\x03\x04" {
		return errors.New("bytes that belong to no entry are before it")
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(head[at:])) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(head[at:]) }
	if nameLength := u16(26); length+nameLength+u16(28) != len(head) || string(head[length:length+nameLength]) != entry.Name {
		return errors.New("the header before its content has another name or length than the directory")
	}
	if u16(6) != int(entry.Flags) || u16(8) != int(entry.Method) {
		return errors.New("the header before its content has other flags or another method than the directory")
	}
	if u16(10) != int(entry.ModifiedTime) || u16(12) != int(entry.ModifiedDate) || u16(4) > newestZip {
		return errors.New("the header before its content has another time than the directory, or needs a newer version of the format")
	}
	sizes := [3]uint32{u32(14), u32(18), u32(22)}
	known := [3]uint32{entry.CRC32, uint32(entry.CompressedSize64), uint32(entry.UncompressedSize64)}
	isLarge := sizes[1] == 1<<32-1 && sizes[2] == 1<<32-1 && extraField(head[length+u16(26):], largeSizes) != nil
	if sizes != known && (entry.Flags&hasDescriptor == 0 || sizes != [3]uint32{}) && (!isLarge || entry.Flags&hasDescriptor == 0 && sizes[0] != known[0]) {
		return errors.New("the header before its content has other sizes or another sum than the directory")
	}
	// Info-ZIP's time (extrafld.txt): a byte with the times that there are, of which modification is the first.
	const times, modified = 0x5455, 1
	extra := head[length+u16(26):]
	if !wholeExtra(extra) {
		return errors.New("the header before its content has extra fields that do not fit into their space")
	}
	here, there := extraField(extra, times), extraField(entry.Extra, times)
	if (len(here) > 4 && here[0]&modified != 0) != (len(there) > 4 && there[0]&modified != 0) || len(here) > 4 && len(there) > 4 && !bytes.Equal(here[1:5], there[1:5]) {
		return errors.New("the header before its content has another time than the directory")
	}
	return nil
}

// largeSizes is the extra field for sizes of more than 32 bits (4.5.3).
const largeSizes = 1

// extraField returns the first extra field of a kind (4.5.1), or nil.
func extraField(extra []byte, kind uint16) []byte {
	for len(extra) >= 4 {
		end := min(len(extra), 4+int(binary.LittleEndian.Uint16(extra[2:])))
		if binary.LittleEndian.Uint16(extra) == kind {
			return extra[4:end]
		}
		extra = extra[end:]
	}
	return nil
}

// inflate decompresses an entry, whose bytes must all be of it.
func inflate(in io.Reader) io.ReadCloser {
	buffered := bufio.NewReader(in)
	return &inflater{flate.NewReader(buffered), buffered}
}

type inflater struct {
	io.ReadCloser
	in *bufio.Reader
}

func (i *inflater) Read(p []byte) (int, error) {
	n, err := i.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		if _, more := i.in.ReadByte(); more == nil {
			return n, errors.New("bytes after the end of its compressed content")
		}
	}
	return n, err
}

// checkZipName refuses what zip forbids beyond what all archives do: names of other systems (4.4.17), and content of directories.
func checkZipName(entry *zip.File) error {
	switch {
	case bytes.ContainsRune([]byte(entry.Name), '\\'):
		return errors.New(`the name has "\"; wanted slashes`)
	case entry.Name != "" && entry.Name[0] == '/':
		return errors.New("the name is absolute")
	case strings.HasSuffix(entry.Name, "/."):
		return errors.New(`the name ends in "."`)
	case len(entry.Name) > 1 && entry.Name[1] == ':':
		return errors.New("the name has a drive; wanted one without")
	case entry.Mode().IsDir() && entry.UncompressedSize64 != 0:
		return fmt.Errorf("is a directory with %d bytes of content", entry.UncompressedSize64)
	}
	return nil
}
