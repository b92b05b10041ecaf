package base

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

// program is one that ends at once and well: code that calls exit(0).
type program struct {
	machine elf.Machine
	code    []byte
}

var programs = map[arch.Arch]program{
	arch.AMD64: {elf.EM_X86_64, []byte("\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05")},              // xor edi, edi; mov eax, 60; syscall
	arch.ARM64: {elf.EM_AARCH64, []byte("\x00\x00\x80\xd2\xa8\x0b\x80\xd2\x01\x00\x00\xd4")}, // mov x0, #0; mov x8, #93; svc #0
}

// CanRun tells whether this host runs programs of an architecture in a root of their own: by its processor, or by an emulator
// that its kernel knows and keeps open, since that root has none (binfmt-misc.rst, flag F). It needs to be root.
// The directory is for what is temporary.
func CanRun(ctx context.Context, a arch.Arch, dir string) bool {
	return programs[a].run(ctx, dir) == nil
}

// run runs the program in a root that has nothing else.
func (p program) run(ctx context.Context, dir string) error {
	root, err := os.MkdirTemp(dir, "can-run.*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	if err := os.WriteFile(filepath.Join(root, "exit"), p.file(), 0o700); err != nil {
		return err
	}
	return run.Run(ctx, run.Cmd{Program: "chroot", Name: "a program of the other architecture", Args: []string{root, "/exit"}, Env: run.HostEnv("PATH")})
}

// file is the program as an ELF file: a header, one segment that is all of the file, and the code.
func (p program) file() []byte {
	const headers, address = 64 + 56, 0x400000
	size := headers + uint64(len(p.code))
	var file bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:    uint16(elf.ET_EXEC),
			Machine: uint16(p.machine),
			Version: uint32(elf.EV_CURRENT),
			Entry:   address + headers,
			Phoff:   64, Ehsize: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
			Vaddr: address, Paddr: address, Filesz: size, Memsz: size, Align: 0x10000,
		},
		p.code,
	} {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			panic(err) // all parts have a fixed size
		}
	}
	return file.Bytes()
}
