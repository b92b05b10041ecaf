package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// maxProgram is several times what a distribution's kernel takes.
const maxProgram = 512 * size.MiB

// Program is what Unpack writes to.
type Program interface {
	io.Writer
	io.ReaderAt
}

// Unpack writes the ELF program that a kernel for amd64 would unpack first when it was started, and reports whether it found one
// that a virtual machine can start with right away, by the entry for that (PVH). A kernel of another kind, one that is not packed with zstd
// and one that is damaged have none.
func Unpack(f io.ReaderAt, into Program) (bool, error) {
	packed, found := payload(f)
	if !found {
		return false, nil
	}
	plain, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(uint64(128*size.MiB)))
	if err != nil {
		return false, err
	}
	defer plain.Close()
	written := errorWriter{Writer: into}
	n, err := io.Copy(&written, io.LimitReader(plain, int64(maxProgram)))
	if written.err != nil {
		return false, written.err
	}
	if err != nil || n == int64(maxProgram) {
		return false, nil
	}
	return hasPVHEntry(into), nil
}

// errorWriter keeps what its writer says apart from what a reader does.
type errorWriter struct {
	io.Writer
	err error
}

func (w *errorWriter) Write(p []byte) (n int, err error) {
	n, w.err = w.Writer.Write(p)
	return n, w.err
}

// payload returns what a kernel for amd64 has packed with zstd (Documentation/arch/x86/boot.rst, payload_offset; the length of what
// is packed follows it, arch/x86/boot/compressed/Makefile).
func payload(f io.ReaderAt) (io.Reader, bool) {
	const setupSectors, sector, version, offset, sizeLength = 0x1f1, 512, 0x206, 0x248, 4
	head, err := readAt(f, 0, offset+8)
	magic := magics[arch.AMD64]
	if err != nil || !bytes.HasPrefix(head[magic.offset:], []byte(magic.text)) || binary.LittleEndian.Uint16(head[version:]) < 0x208 {
		return nil, false
	}
	start := (int64(head[setupSectors])+1)*sector + int64(binary.LittleEndian.Uint32(head[offset:]))
	length := int64(binary.LittleEndian.Uint32(head[offset+4:])) - sizeLength
	begin, err := readAt(f, start, 4)
	if err != nil || length < 0 || !bytes.Equal(begin, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return nil, false
	}
	return io.NewSectionReader(f, start, length), true
}

// hasPVHEntry tells whether an ELF program has Xen's note of a 32-bit entry (xen/include/public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY),
// without which QEMU starts none.
func hasPVHEntry(f io.ReaderAt) bool {
	const maxNotes, entry = 1 << 16, 18
	program, err := elf.NewFile(f)
	if err != nil || program.Machine != elf.EM_X86_64 {
		return false
	}
	for _, segment := range program.Progs {
		if segment.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(io.LimitReader(segment.Open(), maxNotes))
		if err != nil {
			return false
		}
		for in := bytes.NewReader(notes); ; {
			var note struct{ Name, Description, Type uint32 }
			if err := binary.Read(in, program.ByteOrder, &note); err != nil {
				break
			}
			name := make([]byte, min(aligned(note.Name), int64(in.Len())))
			if _, err := io.ReadFull(in, name); err != nil {
				break
			}
			if note.Type == entry && bytes.HasPrefix(name, []byte("Xen\x00")) {
				return true
			}
			if _, err := in.Seek(aligned(note.Description), io.SeekCurrent); err != nil {
				break
			}
		}
	}
	return false
}

// aligned is the length that a note's part takes.
func aligned(length uint32) int64 { return (int64(length) + 3) &^ 3 }
