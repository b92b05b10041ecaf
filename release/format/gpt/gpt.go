// Package gpt reads and writes GUID partition tables (UEFI specification 2.10, section 5.3).
//
// In: a disk. Out: its partitions, and what is wrong with one of the two copies of the table, if anything.
// A changed table goes back in an order in which at every moment one copy is sound and readers see either
// the old table or the new one. Everything that is not changed keeps its bytes, entry by entry.
//
// Refused, with the byte and the field: disks on which neither copy is sound, sectors of 4096 bytes, entries of another
// size than 128 bytes, partitions outside of the disk or of each other's way, and two with one identifier.
//
// This is own code since what matters here is which bytes are written and when, down to the damaged copy;
// the libraries at hand (diskfs/go-diskfs) make tables anew and bring a dozen file systems.
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

// SectorSize is the size of a sector in bytes; all numbers of sectors are in this unit.
const SectorSize = 512

const (
	entrySize     = 128
	maxEntries    = 1024 // 128 are usual, and more than 128 are hardly seen
	minEntries    = 128  // the least that a table has room for (UEFI 5.3.2)
	maxNameLength = 36   // UTF-16 code units
)

// Partition is one entry of a table.
type Partition struct {
	Number      int // from 1
	Type, ID    GUID
	First, Last uint64 // sectors, both included
	Attributes  uint64 // bits 48 to 63 mean what the type says
	Name        string // at most 36 UTF-16 code units
}

// Offset is where the partition begins, in bytes.
func (p Partition) Offset() int64 { return int64(p.First) * SectorSize }

// Size is how long the partition is, in bytes.
func (p Partition) Size() int64 { return int64(p.Last-p.First+1) * SectorSize }

// Table is a partition table. It does not change; what changes it returns another one.
type Table struct {
	disk       GUID
	entries    []byte // as on the disk
	primary    layout
	backup     layout
	first      uint64 // usable sector
	last       uint64 // usable sector
	damaged    error  // what is wrong with one of the copies
	badPrimary bool   // it is the primary one
}

// layout says where a copy lies, in sectors.
type layout struct{ header, entries uint64 }

// New makes a table for a disk of so many sectors, with the partitions' numbers, places and names as they are given.
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
		return nil, errors.New("two partitions have one number")
	}
	return t, t.check()
}

// Damage says what is wrong with one of the copies, or that they differ. Write repairs it.
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

// WithAttributes returns a table in which the partition of that number, which must exist, has other attributes.
func (t *Table) WithAttributes(number int, attributes uint64) *Table {
	changed := *t
	changed.entries = bytes.Clone(t.entries)
	binary.LittleEndian.PutUint64(changed.entries[(number-1)*entrySize+attributesOffset:], attributes)
	return &changed
}

// entry is a partition as it is on the disk, little endian (UEFI table 5.6).
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
		panic(err) // not for a struct of this size
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

// check finds everything that is wrong with the entries.
func (t *Table) check() error {
	partitions := t.Partitions()
	var wrong []error
	seen := map[GUID]int{}
	for _, p := range partitions {
		if p.First > p.Last || p.First < t.first || p.Last > t.last {
			wrong = append(wrong, fmt.Errorf("entry %d (bytes 32 and 40 of it): sectors %d to %d; wanted some of %d to %d", p.Number, p.First, p.Last, t.first, t.last))
		}
		if other, twice := seen[p.ID]; twice {
			wrong = append(wrong, fmt.Errorf("entry %d (byte 16 of it): the identifier %v is entry %d's; wanted another one", p.Number, p.ID, other))
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
