// Package gpt reads and writes GUID partition tables (UEFI specification 2.10, section 5.3).
//
// In: a disk. Out: its partitions, and the damage of one of the two copies of the table, if any.
// A changed table is written so that at every moment one copy is sound and readers see either the old or the new table.
// Unchanged entries keep their bytes.
//
// Refused, with the byte and the field: disks without a sound copy, sectors of 4096 bytes, entries of another size than 128
// bytes, partitions outside of the disk, overlapping partitions, and duplicate identifiers.
//
// No library is used, because control over the bytes and their write order is required, even for a damaged copy. Libraries
// (diskfs/go-diskfs) rewrite the whole table and come with a dozen file systems.
package gpt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"
)

// SectorSize is the size of a sector in bytes. All sector numbers use it.
const SectorSize = 512

const (
	entrySize     = 128
	maxEntries    = 1024 // 128 are usual, more are rare
	minEntries    = 128  // required minimum (UEFI 5.3.2)
	maxNameLength = 36   // UTF-16 code units
)

// Partition is one entry of a table.
type Partition struct {
	Number      int // from 1
	Type, ID    GUID
	First, Last uint64 // sectors, both included
	Attributes  uint64 // the meaning of bits 48 to 63 depends on the type
	Name        string // at most 36 UTF-16 code units
}

// Offset returns the partition's offset in bytes.
func (p Partition) Offset() int64 { return int64(p.First) * SectorSize }

// Size returns the partition's size in bytes.
func (p Partition) Size() int64 { return int64(p.Last-p.First+1) * SectorSize }

// Table is an immutable partition table. Changes return a new one.
type Table struct {
	disk       GUID
	entries    []byte // as on the disk
	primary    layout
	backup     layout
	first      uint64 // usable sector
	last       uint64 // usable sector
	damaged    error  // damage of one copy, or nil
	badPrimary bool   // the primary copy is damaged
}

// layout is the position of a copy, in sectors.
type layout struct{ header, entries uint64 }

// New makes a table for a disk of the given number of sectors and the given partitions.
func New(disk GUID, sectors uint64, partitions []Partition) (*Table, error) {
	const entrySectors = minEntries * entrySize / SectorSize
	if sectors < 2*(1+entrySectors)+2 || sectors > maxSectors {
		return nil, fmt.Errorf("a disk of %d sectors; wanted %d to %d", sectors, 2*(1+entrySectors)+2, uint64(maxSectors))
	}
	t := &Table{
		disk:    disk,
		entries: make([]byte, minEntries*entrySize),
		primary: layout{1, 2},
		backup:  layout{sectors - 1, sectors - 1 - entrySectors},
		first:   2 + entrySectors,
		last:    sectors - 2 - entrySectors,
	}
	for _, p := range partitions {
		if p.Number < 1 || p.Number > minEntries || p.Type.IsZero() {
			return nil, fmt.Errorf("partition %d of type %v; wanted numbers from 1 to %d and a type", p.Number, p.Type, minEntries)
		}
		encoded, err := p.encode()
		if err != nil {
			return nil, err
		}
		copy(t.entries[(p.Number-1)*entrySize:], encoded)
	}
	if len(t.Partitions()) != len(partitions) {
		return nil, errors.New("two partitions have the same number")
	}
	return t, t.check()
}

// Damage returns the damage of one copy, or that the copies differ. Write repairs it.
func (t *Table) Damage() error { return t.damaged }

// Partitions returns the used entries by number.
func (t *Table) Partitions() []Partition {
	var all []Partition
	for i := range len(t.entries) / entrySize {
		if p := decode(t.entries[i*entrySize:][:entrySize]); !p.Type.IsZero() {
			p.Number = i + 1
			all = append(all, p)
		}
	}
	return all
}

// WithAttributes returns a table with new attributes for the partition of that number, which must exist.
func (t *Table) WithAttributes(number int, attributes uint64) *Table {
	changed := *t
	changed.entries = bytes.Clone(t.entries)
	binary.LittleEndian.PutUint64(changed.entries[(number-1)*entrySize+attributesOffset:], attributes)
	return &changed
}

// entry is a partition in the on-disk format, little endian (UEFI table 5.6).
type entry struct {
	Type, ID    GUID                  // bytes 0 and 16
	First, Last uint64                // bytes 32 and 40
	Attributes  uint64                // byte 48
	Name        [maxNameLength]uint16 // byte 56: UTF-16, padded with NUL
}

const attributesOffset = 48

func (p Partition) encode() ([]byte, error) {
	name := utf16.Encode([]rune(p.Name))
	if len(name) > maxNameLength || slices.Contains(name, 0) {
		return nil, fmt.Errorf("partition %d: the name %q; wanted at most %d characters (UTF-16), none of them NUL", p.Number, p.Name, maxNameLength)
	}
	e := entry{Type: p.Type.swapped(), ID: p.ID.swapped(), First: p.First, Last: p.Last, Attributes: p.Attributes}
	copy(e.Name[:], name)
	return binary.Append(nil, binary.LittleEndian, e)
}

func decode(encoded []byte) Partition {
	var e entry
	if _, err := binary.Decode(encoded, binary.LittleEndian, &e); err != nil {
		panic(err) // cannot happen for a struct of fixed size
	}
	name := e.Name[:]
	if end := slices.Index(name, 0); end >= 0 {
		name = name[:end]
	}
	return Partition{
		Type: e.Type.swapped(), ID: e.ID.swapped(), First: e.First, Last: e.Last, Attributes: e.Attributes,
		Name: string(utf16.Decode(name)),
	}
}

// check returns all mistakes in the entries.
func (t *Table) check() error {
	partitions := t.Partitions()
	var wrong []error
	seen := map[GUID]int{}
	for _, p := range partitions {
		if p.First > p.Last || p.First < t.first || p.Last > t.last {
			wrong = append(wrong, fmt.Errorf("entry %d (bytes 32 and 40 of it): sectors %d to %d; wanted some of %d to %d", p.Number, p.First, p.Last, t.first, t.last))
		}
		if p.ID.IsZero() {
			wrong = append(wrong, fmt.Errorf("entry %d (byte 16 of it): has no identifier; wanted a unique one", p.Number))
		}
		if other, twice := seen[p.ID]; twice {
			wrong = append(wrong, fmt.Errorf("entry %d (byte 16 of it): duplicate identifier %v, also of entry %d; wanted a unique one", p.Number, p.ID, other))
		}
		seen[p.ID] = p.Number
	}
	slices.SortStableFunc(partitions, func(a, b Partition) int { return cmp.Compare(a.First, b.First) })
	for i, p := range partitions {
		if i > 0 && p.First <= partitions[i-1].Last {
			wrong = append(wrong, fmt.Errorf("entry %d (byte 32 of it): begins in sector %d, inside of entry %d, which ends with sector %d", p.Number, p.First, partitions[i-1].Number, partitions[i-1].Last))
		}
	}
	return errors.Join(wrong...)
}
