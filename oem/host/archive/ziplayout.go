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
)

// A zip archive says everything twice: before each entry, and in its directory. Readers of streams believe the one, all others the
// other. checkLayout refuses archives in which they differ, and bytes that belong to neither (APPNOTE.TXT, 4.3.6 to 4.3.16).
// inOrder are the entries by position.
func checkLayout(file io.ReaderAt, length int64, comment string, inOrder []*zip.File, starts map[*zip.File]int64) error {
	end := []int64{0} // where what comes next may begin
	for _, entry := range inOrder {
		if err := checkLocal(file, entry, starts[entry], end); err != nil {
			return fmt.Errorf("entry %q: %w", entry.Name, err)
		}
		end = []int64{starts[entry] + int64(entry.CompressedSize64)}
		if entry.Flags&hasDescriptor != 0 {
			// Sizes again: 4 or 8 bytes each, with or without a signature before them (4.3.9).
			end = append(end, end[0]+12, end[0]+16, end[0]+20, end[0]+24)
		}
	}
	const directoryEnd = 22 // bytes without the comment (4.3.16)
	last := make([]byte, directoryEnd)
	if _, err := file.ReadAt(last, length-directoryEnd-int64(len(comment))); err != nil || string(last[:4]) != "PK\x05\x06" {
		return errTrailing
	}
	directory := int64(binary.LittleEndian.Uint32(last[16:]))
	for _, at := range end {
		if at == directory || directory == 1<<32-1 { // said elsewhere, for large archives
			return nil
		}
	}
	return fmt.Errorf("%d bytes between the last entry and the directory", directory-end[0])
}

const hasDescriptor = 8 // APPNOTE.TXT, 4.4.4

// checkLocal compares an entry of the directory with the header before its content, which begins at one of some places.
func checkLocal(file io.ReaderAt, entry *zip.File, start int64, places []int64) error {
	const length = 30 // before name and extra fields (4.3.7)
	for _, at := range places {
		head := make([]byte, max(0, min(start-at, length+1<<17)))
		if _, err := file.ReadAt(head, at); err != nil || len(head) < length || string(head[:4]) != "PK\x03\x04" {
			continue
		}
		u16 := func(at int) int { return int(binary.LittleEndian.Uint16(head[at:])) }
		u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(head[at:]) }
		if nameLength := u16(26); length+nameLength+u16(28) != len(head) || string(head[length:length+nameLength]) != entry.Name {
			return errors.New("the header before its content has another name or length than the directory")
		}
		if u16(6) != int(entry.Flags) || u16(8) != int(entry.Method) {
			return errors.New("the header before its content has other flags or another method than the directory")
		}
		sizes := [3]uint32{u32(14), u32(18), u32(22)}
		if entry.Flags&hasDescriptor == 0 && sizes[1] != 1<<32-1 &&
			sizes != [3]uint32{entry.CRC32, uint32(entry.CompressedSize64), uint32(entry.UncompressedSize64)} {
			return errors.New("the header before its content has other sizes or another sum than the directory")
		}
		return nil
	}
	return errors.New("bytes that belong to no entry are before it")
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
	case entry.Mode().IsDir() && entry.UncompressedSize64 != 0:
		return fmt.Errorf("is a directory with %d bytes of content", entry.UncompressedSize64)
	}
	return nil
}
