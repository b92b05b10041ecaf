// Package kernel knows kernel files: it writes a USR partition's root hash into one of Flatcar, takes Secure Boot signatures off it,
// and unpacks what a virtual machine can start with.
//
// Flatcar's boot loader looks for 64 lowercase hexadecimal digits at a fixed place of the kernel file and passes them on
// as verity.usrhash= (flatcar/scripts, build_library/build_image_util.sh; its patch of GRUB, add-verity-hash).
// On amd64 the place lies in a message that Linux had in its boot sector and that Flatcar's kernel keeps; on arm64 in the
// gap behind the EFI headers. Elsewhere there are headers, and writing there would break the kernel. So nothing is
// written unless the place is known to be free, and a kernel without it is a *NoFieldError: its root hash has to go
// on the command line.
//
// In: a kernel file. Out: the same file, changed in place; unpacked, another one. Refused: anything but a kernel for the architecture.
package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// fieldLength is how many bytes the root hash takes: it has no terminator.
const fieldLength = 64

// fieldOffset is where the root hash lies.
var fieldOffset = map[arch.Arch]int64{arch.AMD64: 64, arch.ARM64: 512}

// message is what Flatcar's amd64 kernels have where the root hash goes, as long as none was written
// (arch/x86/boot/header.S, bugger_off_msg, before Linux 6.7).
const message = "Use a boot loader.\r\n\nRemove disk and press any key to reboot...\r"

// What tells a kernel of an architecture (Documentation/arch/x86/boot.rst, setup header; arch/arm64/booting.rst).
var magics = map[arch.Arch]struct {
	offset int64
	text   string
}{
	arch.AMD64: {0x202, "HdrS"},
	arch.ARM64: {56, "ARM\x64"},
}

// NoFieldError says that a kernel has no room for a root hash.
type NoFieldError struct{ Reason string }

func (e *NoFieldError) Error() string { return "the kernel has no place for a root hash: " + e.Reason }

// File is a kernel file that can be changed.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(length int64) error
}

// RootHash returns the root hash in a kernel. Without one it is zero, and a kernel without a place for it is a *NoFieldError.
func RootHash(f io.ReaderAt, a arch.Arch) (digest.SHA256, error) {
	if err := check(f, a); err != nil {
		return digest.SHA256{}, err
	}
	field, err := readAt(f, fieldOffset[a], fieldLength)
	if err != nil {
		return digest.SHA256{}, err
	}
	if !isHash(field) {
		return digest.SHA256{}, nil
	}
	return digest.Parse(string(field))
}

// SetRootHash writes a root hash into a kernel. A Secure Boot signature does not fit the kernel afterwards: strip it.
func SetRootHash(f File, a arch.Arch, root digest.SHA256) error {
	if err := check(f, a); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(root.String()), fieldOffset[a])
	return err
}

// check refuses a file that is not a kernel, and a kernel that needs the bytes where the field goes.
func check(f io.ReaderAt, a arch.Arch) error {
	magic := magics[a]
	got, err := readAt(f, magic.offset, len(magic.text))
	if err != nil {
		return fmt.Errorf("no kernel for %s: %w", a, err)
	}
	if string(got) != magic.text {
		return fmt.Errorf("no kernel for %s: byte %d has %q; wanted %q", a, magic.offset, got, magic.text)
	}
	field, err := readAt(f, fieldOffset[a], fieldLength)
	if err != nil {
		return err
	}
	header, isPE, err := peOffset(f)
	if err != nil {
		return err
	}
	if end := fieldOffset[a] + fieldLength; a == arch.AMD64 && isPE && header < end {
		return &NoFieldError{fmt.Sprintf("its PE header is at byte %d; wanted byte %d or later", header, end)}
	}
	if a == arch.ARM64 && isPE {
		if err := checkGap(f, header); err != nil {
			return err
		}
	}
	free := string(field) == message
	if a == arch.ARM64 {
		free = bytes.Equal(field, make([]byte, fieldLength))
	}
	if !free && !isHash(field) {
		return &NoFieldError{fmt.Sprintf("bytes %d to %d have %.20q…, which are neither a root hash nor free",
			fieldOffset[a], fieldOffset[a]+fieldLength-1, field)}
	}
	return nil
}

// checkGap makes sure that the field lies behind the EFI headers and before all sections.
func checkGap(f io.ReaderAt, header int64) error {
	from, end := fieldOffset[arch.ARM64], fieldOffset[arch.ARM64]+fieldLength
	head, err := readAt(f, header, coffLength)
	if err != nil {
		return err
	}
	sections := int64(binary.LittleEndian.Uint16(head[4+2:]))
	table := header + coffLength + int64(binary.LittleEndian.Uint16(head[4+16:]))
	if last := table + sections*sectionLength; last > from {
		return &NoFieldError{fmt.Sprintf("its EFI headers end at byte %d; wanted byte %d or before", last, from)}
	}
	for i := range sections {
		section, err := readAt(f, table+i*sectionLength, sectionLength)
		if err != nil {
			return err
		}
		length, start := int64(binary.LittleEndian.Uint32(section[16:])), int64(binary.LittleEndian.Uint32(section[20:]))
		if start < end && start+length > from {
			return &NoFieldError{fmt.Sprintf("section %q has bytes %d to %d", bytes.TrimRight(section[:8], "\x00"), start, start+length-1)}
		}
	}
	return nil
}

// Lengths in a PE file (Microsoft's PE format): the signature with the COFF header, and an entry of the section table.
const (
	coffLength    = 4 + 20
	sectionLength = 40
)

// peOffset returns where the PE header begins, if there is one.
func peOffset(f io.ReaderAt) (offset int64, isPE bool, err error) {
	dos, err := readAt(f, 0, 64)
	if err != nil || string(dos[:2]) != "MZ" {
		return 0, false, err
	}
	offset = int64(binary.LittleEndian.Uint32(dos[0x3c:]))
	signature, err := readAt(f, offset, 4)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, false, nil
	}
	return offset, string(signature) == "PE\x00\x00", err
}

func isHash(field []byte) bool {
	for _, c := range field {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// readAt reads length bytes at an offset; a file that ends before is an io.ErrUnexpectedEOF.
func readAt(f io.ReaderAt, offset int64, length int) ([]byte, error) {
	buf := make([]byte, length)
	if n, err := f.ReadAt(buf, offset); n < length {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("the file ends before byte %d: %w", offset+int64(length), io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	return buf, nil
}
