package elf

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"

	"github.com/flatcar/oem-sysext/oem/host/foreign"
)

// dynamic is a dynamic section: values by tag, and its string table.
type dynamic struct {
	raw     *elf.File
	values  map[elf.DynTag][]uint64
	strings []byte
	read    int   // version records so far
	wrong   error // the first name that is none
}

func (d *dynamic) u16(b []byte) uint64 { return uint64(d.raw.ByteOrder.Uint16(b)) }
func (d *dynamic) u32(b []byte) uint64 { return uint64(d.raw.ByteOrder.Uint32(b)) }
func (d *dynamic) u64(b []byte) uint64 { return d.raw.ByteOrder.Uint64(b) }

// first returns the first value of a tag, or 0.
func (d *dynamic) first(tag elf.DynTag) uint64 {
	if values := d.values[tag]; len(values) > 0 {
		return values[0]
	}
	return 0
}

// names returns the names of all entries of a tag.
func (d *dynamic) names(tag elf.DynTag) []string {
	var names []string
	for _, offset := range d.values[tag] {
		names = append(names, d.name(offset))
	}
	return names
}

// name returns the name at an offset of the string table, and notes in wrong if there is none.
func (d *dynamic) name(offset uint64) string {
	if offset >= uint64(len(d.strings)) || !bytes.Contains(d.strings[offset:], []byte{0}) {
		d.wrong = cmp.Or(d.wrong, fmt.Errorf("a name at byte %d of the string table, which has %d", offset, len(d.strings)))
		return ""
	}
	name := text(d.strings, offset)
	if name == "" {
		d.wrong = cmp.Or(d.wrong, errors.New("an empty name"))
	}
	if err := foreign.Check(name); err != nil {
		d.wrong = cmp.Or(d.wrong, fmt.Errorf("the name %q %w", name, err))
	}
	return name
}

// table returns the bytes that a tag points to; with length 0, up to the end of the segment.
// It returns nil if the tag is missing.
func (d *dynamic) table(tag elf.DynTag, length uint64) ([]byte, error) {
	if len(d.values[tag]) == 0 {
		return nil, nil
	}
	address := d.first(tag)
	for _, segment := range d.raw.Progs {
		if segment.Type != elf.PT_LOAD || address < segment.Vaddr || address-segment.Vaddr >= segment.Filesz {
			continue
		}
		offset := address - segment.Vaddr
		if length == 0 {
			length = min(segment.Filesz-offset, maxTable)
		}
		return read(segment, offset, length)
	}
	return nil, fmt.Errorf("%v points outside the file", tag)
}

var errTooManyNames = errors.New("more names than in any real file")

// records are the records of a linked list: their size, and where in each the distance to the next one is (all as in elf.h).
type records struct{ size, nextAt uint64 }

var (
	verneed = records{16, 12}
	vernaux = records{16, 12}
	verdef  = records{20, 16}
	verdaux = records{8, 4}
)

// needs reads DT_VERNEED: a list of libraries, each with a list of versions.
// Weak versions may be missing when the file is loaded.
func (d *dynamic) needs() ([]Version, error) {
	table, err := d.table(elf.DT_VERNEED, 0)
	if err != nil || table == nil {
		return nil, err
	}
	const weak = 2 // VER_FLG_WEAK
	var wants []Version
	err = d.list(table, 0, d.first(elf.DT_VERNEEDNUM), verneed, func(offset uint64, need []byte) error {
		library := d.name(d.u32(need[4:]))
		return d.list(table, offset+d.u32(need[8:]), d.u16(need[2:]), vernaux, func(_ uint64, version []byte) error {
			if d.u16(version[4:])&weak == 0 {
				wants = append(wants, Version{library, d.name(d.u32(version[8:]))})
			}
			return nil
		})
	})
	return wants, err
}

// definitions reads DT_VERDEF: a list of versions, whose first name is their own. The base version names the file.
func (d *dynamic) definitions() ([]string, error) {
	table, err := d.table(elf.DT_VERDEF, 0)
	if err != nil || table == nil {
		return nil, err
	}
	const base = 1 // VER_FLG_BASE
	var offers []string
	err = d.list(table, 0, d.first(elf.DT_VERDEFNUM), verdef, func(offset uint64, definition []byte) error {
		// Further names are those of older versions that this one includes.
		own := d.u16(definition[2:])&base == 0
		return d.list(table, offset+d.u32(definition[12:]), d.u16(definition[6:]), verdaux, func(_ uint64, name []byte) error {
			if text := d.name(d.u32(name)); own {
				offers, own = append(offers, text), false
			}
			return nil
		})
	})
	return offers, err
}

// list calls each for up to count records of the linked list that begins at offset.
func (d *dynamic) list(table []byte, offset, count uint64, of records, each func(offset uint64, record []byte) error) error {
	for left := count; left > 0; left-- {
		if d.read++; d.read > maxNames {
			return errTooManyNames
		}
		if offset > uint64(len(table)) || uint64(len(table))-offset < of.size {
			return io.ErrUnexpectedEOF
		}
		record := table[offset : offset+of.size]
		if err := each(offset, record); err != nil {
			return err
		}
		next := d.u32(record[of.nextAt:])
		if (next == 0) != (left == 1) { // loaders go on as long as there is a next one
			return fmt.Errorf("a list of %d with another end", count)
		}
		if next == 0 {
			return nil
		}
		offset += next
	}
	return nil
}
