package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// maxSectors keeps every offset within int64.
const maxSectors = math.MaxInt64 / SectorSize

// header is the header of a copy, before the entries of the primary and behind those of the backup, little endian (UEFI
// table 5.5).
type header struct {
	Signature      [8]byte // byte 0
	Revision       uint32  // byte 8
	Size           uint32  // byte 12: of this header
	Checksum       uint32  // byte 16: of the header with this field zero
	Reserved       uint32  // byte 20
	Own            uint64  // byte 24: the sector that this is in
	Other          uint64  // byte 32: the sector of the other copy's header
	First, Last    uint64  // bytes 40 and 48: usable sectors
	Disk           GUID    // byte 56
	Entries        uint64  // byte 72: the first sector of the entries
	Count          uint32  // byte 80: of entries
	EntrySize      uint32  // byte 84
	EntriesSummary uint32  // byte 88: checksum of all entries
}

const (
	headerSize = 92
	revision   = 0x00010000
)

var signature = [8]byte{'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T'}

// copyOf is one of the two copies as read.
type copyOf struct {
	header
	entries []byte
}

// Read reads the table of a disk of size bytes. If only one copy is sound, it is used and Damage describes the other. If both are
// sound and differ, the primary one is used, as boot loaders do.
func Read(disk io.ReaderAt, size int64) (*Table, error) {
	sectors := uint64(max(size, 0)) / SectorSize
	if sectors < 4 {
		return nil, fmt.Errorf("the disk has %d B, too few for a partition table", size)
	}
	if err := checkProtective(disk); err != nil {
		return nil, err
	}
	primary, primaryErr := readCopy(disk, 1, sectors)
	// On a disk that has grown, the backup is where the primary points, not at the end.
	where := sectors - 1
	if primaryErr == nil {
		where = primary.Other
	}
	backup, backupErr := readCopy(disk, where, sectors)
	switch {
	case primaryErr != nil && backupErr != nil:
		return nil, errors.Join(errors.New("neither copy of the partition table is sound"),
			fmt.Errorf("primary: %w", primaryErr), fmt.Errorf("backup: %w", backupErr), otherSectors(disk))
	case primaryErr != nil:
		t := backup.table()
		t.damaged, t.badPrimary = fmt.Errorf("the primary partition table is damaged: %w", primaryErr), true
		return t, nil
	}
	t := primary.table()
	switch {
	case backupErr != nil:
		t.damaged = fmt.Errorf("the backup partition table is damaged: %w", backupErr)
	case !primary.same(backup):
		t.damaged = errors.New("the two partition tables are sound but differ; the primary one is used")
	default:
		t.backup.entries = backup.Entries
	}
	return t, nil
}

// checkProtective wants a protective MBR. Without one, neither kernels nor other tools look for a GPT (kernel
// block/partitions/efi.c, is_pmbr_valid).
func checkProtective(disk io.ReaderAt) error {
	mbr := make([]byte, SectorSize)
	if err := readAt(disk, mbr, 0); err != nil {
		return err
	}
	if mbr[510] != 0x55 || mbr[511] != 0xaa {
		return fmt.Errorf("protective MBR: byte 510: signature is %x; wanted 55aa", mbr[510:])
	}
	for entry := range 4 {
		e := mbr[446+16*entry:]
		if e[4] == 0xee && binary.LittleEndian.Uint32(e[8:]) == 1 {
			return nil
		}
	}
	return errors.New("protective MBR: byte 450: has no entry of the type 0xee that begins in sector 1")
}

// otherSectors recognizes a table for sectors of 4096 bytes.
func otherSectors(disk io.ReaderAt) error {
	found := make([]byte, len(signature))
	if _, err := disk.ReadAt(found, 4096); err == nil && bytes.Equal(found, signature[:]) {
		return fmt.Errorf("the table is for sectors of 4096 B; wanted %d B", SectorSize)
	}
	return nil
}

func readCopy(disk io.ReaderAt, sector, sectors uint64) (copyOf, error) {
	at := int64(sector) * SectorSize
	raw := make([]byte, SectorSize)
	if err := readAt(disk, raw, at); err != nil {
		return copyOf{}, err
	}
	var c copyOf
	if _, err := binary.Decode(raw, binary.LittleEndian, &c.header); err != nil {
		return copyOf{}, err
	}
	if err := c.checkHeader(raw, sector, sectors); err != nil {
		return copyOf{}, err
	}
	c.entries = make([]byte, c.Count*entrySize)
	if err := readAt(disk, c.entries, int64(c.Entries)*SectorSize); err != nil {
		return copyOf{}, err
	}
	if sum := crc32.ChecksumIEEE(c.entries); sum != c.EntriesSummary {
		return copyOf{}, fmt.Errorf("byte %d: checksum of the entries is 0x%08x; wanted 0x%08x", at+88, c.EntriesSummary, sum)
	}
	if err := c.table().check(); err != nil {
		return copyOf{}, fmt.Errorf("entries at byte %d: %w", c.Entries*SectorSize, err)
	}
	return c, nil
}

func readAt(disk io.ReaderAt, b []byte, at int64) error {
	if n, err := disk.ReadAt(b, at); n < len(b) {
		return fmt.Errorf("byte %d: read %d B of %d B: %w", at, n, len(b), err)
	}
	return nil
}

// checkHeader finds every wrong field, before any number of the header is used.
func (c copyOf) checkHeader(raw []byte, sector, sectors uint64) error {
	at := int64(sector) * SectorSize
	if c.Signature != signature {
		return fmt.Errorf("byte %d: signature is %q; wanted %q", at, c.Signature[:], signature[:])
	}
	if c.Size < headerSize || c.Size > SectorSize {
		return fmt.Errorf("byte %d: size of the header is %d B; wanted %d to %d", at+12, c.Size, headerSize, SectorSize)
	}
	summed := bytes.Clone(raw[:c.Size])
	clear(summed[16:20])
	if sum := crc32.ChecksumIEEE(summed); sum != c.Checksum {
		return fmt.Errorf("byte %d: checksum of the header is 0x%08x; wanted 0x%08x", at+16, c.Checksum, sum)
	}
	entrySectors := uint64(c.Count) * entrySize / SectorSize
	var wrong []error
	for _, field := range []struct {
		offset    int64
		name      string
		ok        bool
		got, want any
	}{
		{8, "revision", c.Revision == revision, c.Revision, revision},
		{20, "reserved field", c.Reserved == 0, c.Reserved, 0},
		{int64(c.Size), "rest of the sector", len(bytes.Trim(raw[c.Size:], "\x00")) == 0, "in use", "zeros"},
		{56, "identifier of the disk", !c.Disk.IsZero(), c.Disk, "one that is not zero"},
		{24, "own sector", c.Own == sector, c.Own, sector},
		{32, "sector of the other copy", c.otherOK(entrySectors, sectors), c.Other, "1, or one on the disk with room for the entries between usable sectors and it"},
		{40, "first usable sector", c.First <= c.Last, c.First, fmt.Sprintf("at most %d", c.Last)},
		{48, "last usable sector", c.Last < sectors, c.Last, fmt.Sprintf("less than %d", sectors)},
		{72, "first sector of the entries", c.entriesOK(entrySectors, sectors), c.Entries, "entries between header and usable sectors"},
		{80, "number of entries", c.Count >= 4 && c.Count%4 == 0 && c.Count <= maxEntries, c.Count, fmt.Sprintf("a multiple of 4 up to %d", maxEntries)},
		{84, "size of an entry in bytes", c.EntrySize == entrySize, c.EntrySize, entrySize},
	} {
		if !field.ok {
			wrong = append(wrong, fmt.Errorf("byte %d: %s is %v; wanted %v", at+field.offset, field.name, field.got, field.want))
		}
	}
	return errors.Join(wrong...)
}

// otherOK reports whether the position of the other copy is valid: one copy is before the usable sectors, the other behind.
func (c copyOf) otherOK(entrySectors, sectors uint64) bool {
	if c.Own == 1 {
		return c.Other < sectors && c.Other > entrySectors && c.Other-entrySectors > c.Last
	}
	return c.Other == 1 && 2+entrySectors <= c.First
}

// entriesOK reports whether the entries are on the same side of the usable sectors as their header, and do not overlap it.
func (c copyOf) entriesOK(entrySectors, sectors uint64) bool {
	if c.Entries >= sectors || c.Entries+entrySectors > sectors {
		return false
	}
	if c.Own == 1 {
		return c.Entries > 1 && c.Entries+entrySectors <= c.First
	}
	return c.Entries > c.Last && c.Entries+entrySectors <= c.Own
}

// table returns the layout of both copies according to this one. If the other copy is not available, its entries are assumed at
// the same distance from its header.
func (c copyOf) table() *Table {
	t := &Table{disk: c.Disk.swapped(), entries: c.entries, first: c.First, last: c.Last}
	own, other := layout{c.Own, c.Entries}, layout{header: c.Other}
	entrySectors := uint64(len(c.entries)) / SectorSize
	if c.Own == 1 {
		other.entries = c.Other - entrySectors
		t.primary, t.backup = own, other
	} else {
		other.entries = 2
		t.primary, t.backup = other, own
	}
	return t
}

// same reports whether two copies are equal.
func (c copyOf) same(o copyOf) bool {
	return c.Own == o.Other && c.Other == o.Own && c.First == o.First && c.Last == o.Last && c.Disk == o.Disk && bytes.Equal(c.entries, o.entries)
}
