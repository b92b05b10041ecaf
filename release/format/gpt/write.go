package gpt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Disk is a disk to write to, such as an *os.File.
type Disk interface {
	io.WriterAt
	Sync() error
}

// Write writes both copies and nothing else. A damaged copy is written first, otherwise the backup. So one copy is sound at every
// moment, and readers find the old or the new table, even after a power cut.
func (t *Table) Write(disk Disk) error {
	order := []layout{t.backup, t.primary}
	if t.badPrimary {
		order = []layout{t.primary, t.backup}
	}
	for _, c := range order {
		if err := t.writeCopy(disk, c); err != nil {
			return fmt.Errorf("write partition table: %w", err)
		}
	}
	return nil
}

func (t *Table) writeCopy(disk Disk, c layout) error {
	if _, err := disk.WriteAt(t.entries, int64(c.entries)*SectorSize); err != nil {
		return err
	}
	if _, err := disk.WriteAt(t.header(c), int64(c.header)*SectorSize); err != nil {
		return err
	}
	return disk.Sync()
}

// header encodes one copy's header, a whole sector.
func (t *Table) header(c layout) []byte {
	h := header{
		Signature: signature, Revision: revision, Size: headerSize,
		Own: c.header, Other: t.primary.header, First: t.first, Last: t.last, Disk: t.disk.swapped(),
		Entries: c.entries, Count: uint32(len(t.entries) / entrySize), EntrySize: entrySize,
		EntriesSummary: crc32.ChecksumIEEE(t.entries),
	}
	if c == t.primary {
		h.Other = t.backup.header
	}
	sector := make([]byte, SectorSize)
	if _, err := binary.Encode(sector, binary.LittleEndian, h); err != nil {
		panic(err) // cannot happen for a struct of fixed size
	}
	binary.LittleEndian.PutUint32(sector[16:], crc32.ChecksumIEEE(sector[:headerSize]))
	return sector
}

// ProtectiveMBR returns the first sector of a disk: a record that marks the whole disk as used, for tools that do not know GPT
// (UEFI 5.2.3).
func (t *Table) ProtectiveMBR() []byte {
	sector := make([]byte, SectorSize)
	record := sector[446:]
	copy(record[1:], []byte{0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff}) // from sector 1 on, of type 0xee
	binary.LittleEndian.PutUint32(record[8:], 1)
	binary.LittleEndian.PutUint32(record[12:], uint32(min(t.backup.header, 1<<32-1)))
	copy(sector[510:], []byte{0x55, 0xaa})
	return sector
}
