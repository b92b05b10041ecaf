// Package elf reads what the kernel and the dynamic loader use of a program, library or kernel module:
// the machine, the loader, needed libraries and their search path, needed and defined symbol versions.
//
// Dynamic sections are found as the loader finds them, by program headers; section headers may be stripped.
// Numbers come from the System V ABI and the Linux Standard Base's chapter on symbol versioning.
package elf

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
)

// File is what the loader needs to know about a file.
type File struct {
	Machine     elf.Machine
	Class       elf.Class
	Interpreter string   // the dynamic loader, of programs
	Soname      string   // the name by which others need it, of libraries
	Needed      []string // names of libraries, in order
	Runpath     []string // where this file's libraries are searched, unexpanded: $ORIGIN is the file's directory
	Rpath       []string // the same for everything loaded because of it, if there is no Runpath
	Wants       []Version
	Offers      []string // symbol versions that it defines
	Vermagic    string   // of kernel modules: the release and the options of the kernel it was built for
}

// Version is a symbol version that must exist when the file is loaded.
type Version struct {
	Library string // as in Needed
	Name    string // such as GLIBC_2.38
}

// Limits for hostile files. Real ones are far smaller.
const (
	maxTable = 64 << 20 // bytes of one table
	maxNames = 1 << 12  // libraries and versions
	maxName  = 4096     // bytes, as PATH_MAX
)

// Is tells whether these are the first bytes of an ELF file.
func Is(head []byte) bool { return bytes.HasPrefix(head, []byte(elf.ELFMAG)) }

// Read reads an ELF file; only machine and class if it is not 64-bit little-endian, as all our machines are.
func Read(r io.ReaderAt) (*File, error) {
	raw, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	f := &File{Machine: raw.Machine, Class: raw.Class}
	if raw.Class != elf.ELFCLASS64 || raw.Data != elf.ELFDATA2LSB {
		return f, nil
	}
	if raw.Type == elf.ET_REL {
		f.Vermagic, err = vermagic(raw)
		return f, err
	}
	for _, segment := range raw.Progs {
		switch segment.Type {
		case elf.PT_LOAD:
			if segment.Filesz > segment.Memsz {
				return nil, fmt.Errorf("a segment with %d bytes in the file and %d in memory", segment.Filesz, segment.Memsz)
			}
		case elf.PT_INTERP:
			name, err := read(segment, 0, min(segment.Filesz, maxName))
			if err != nil {
				return nil, fmt.Errorf("interpreter: %w", err)
			}
			f.Interpreter = text(name, 0)
			if err := foreign.Check(f.Interpreter); err != nil || len(f.Interpreter) == len(name) || f.Interpreter == "" {
				return nil, fmt.Errorf("interpreter: %q; wanted a name that ends in a zero", name)
			}
		case elf.PT_DYNAMIC:
			if err := f.readDynamic(raw, segment); err != nil {
				return nil, fmt.Errorf("dynamic section: %w", err)
			}
		}
	}
	return f, nil
}

// readDynamic reads what the dynamic section says or points to.
func (f *File) readDynamic(raw *elf.File, segment *elf.Prog) error {
	content, err := read(segment, 0, segment.Filesz)
	if err != nil {
		return err
	}
	d := dynamic{raw: raw, values: map[elf.DynTag][]uint64{}}
	ended := false
	for entry := range slices.Chunk(content, 16) {
		if len(entry) < 16 || elf.DynTag(d.u64(entry)) == elf.DT_NULL {
			ended = len(entry) == 16
			break
		}
		tag := elf.DynTag(d.u64(entry))
		if d.values[tag] = append(d.values[tag], d.u64(entry[8:])); len(d.values[tag]) > maxNames {
			return fmt.Errorf("more than %d entries of one kind", maxNames)
		}
	}
	if !ended {
		return errors.New("has no end within its segment, which loaders look for")
	}
	if d.strings, err = d.table(elf.DT_STRTAB, d.first(elf.DT_STRSZ)); err != nil {
		return fmt.Errorf("string table: %w", err)
	}
	f.Needed = d.names(elf.DT_NEEDED)
	f.Soname = strings.Join(d.names(elf.DT_SONAME), "")
	f.Runpath = searchPath(d.names(elf.DT_RUNPATH))
	f.Rpath = searchPath(d.names(elf.DT_RPATH))
	if f.Wants, err = d.needs(); err != nil {
		return fmt.Errorf("wanted versions: %w", err)
	}
	if f.Offers, err = d.definitions(); err != nil {
		return fmt.Errorf("offered versions: %w", err)
	}
	return d.wrong
}

func searchPath(values []string) []string {
	var dirs []string
	for _, value := range values {
		dirs = append(dirs, strings.Split(value, ":")...)
	}
	return slices.DeleteFunc(dirs, func(dir string) bool { return dir == "" })
}

// vermagic returns the field of a module's .modinfo (NAME=value, each ended by a zero byte).
func vermagic(raw *elf.File) (string, error) {
	section := raw.Section(".modinfo")
	if section == nil {
		return "", nil
	}
	if section.Size > maxTable {
		return "", fmt.Errorf(".modinfo has %d bytes", section.Size)
	}
	content, err := section.Data()
	if err != nil {
		return "", fmt.Errorf(".modinfo: %w", err)
	}
	for field := range bytes.SplitSeq(content, []byte{0}) {
		if value, found := bytes.CutPrefix(field, []byte("vermagic=")); found {
			return string(value), nil
		}
	}
	return "", nil
}

// read returns bytes of a segment's content in the file.
func read(segment *elf.Prog, offset, length uint64) ([]byte, error) {
	if length > maxTable {
		return nil, fmt.Errorf("has %d bytes; wanted at most %d", length, maxTable)
	}
	if offset > segment.Filesz || length > segment.Filesz-offset {
		return nil, io.ErrUnexpectedEOF
	}
	content := make([]byte, length)
	_, err := io.ReadFull(io.NewSectionReader(segment, int64(offset), int64(length)), content)
	return content, err
}

// text returns the zero-terminated string at an offset; empty if there is none.
func text(table []byte, offset uint64) string {
	if offset >= uint64(len(table)) {
		return ""
	}
	name, _, _ := bytes.Cut(table[offset:min(offset+maxName, uint64(len(table)))], []byte{0})
	return string(name)
}
