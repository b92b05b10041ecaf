package ddi

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/format/verity"
)

// Disk is a signed image that was read but not yet verified.
type Disk struct {
	Arch     arch.Arch
	RootHash digest.SHA256 // claimed by the image

	disk   io.ReaderAt
	parts  []gpt.Partition // data, hashes, signature
	record record
}

// Read reads the metadata of an image of the given size and checks it against the specification: both copies of the partition
// table, the partitions' types, identifiers and flags, and the form of the signature.
func Read(disk io.ReaderAt, length int64) (*Disk, error) {
	table, err := gpt.Read(disk, length)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(table.Damage(), checkMBR(disk, table)); err != nil {
		return nil, err
	}
	d := &Disk{disk: disk}
	if err := d.sort(table.Partitions()); err != nil {
		return nil, err
	}
	content := make([]byte, d.parts[2].Size())
	if _, err := disk.ReadAt(content, d.parts[2].Offset()); err != nil {
		return nil, fmt.Errorf("signature partition: %w", err)
	}
	if d.record, err = parseRecord(content); err != nil {
		return nil, fmt.Errorf("signature partition: %w", err)
	}
	d.RootHash = d.record.RootHash
	return d, d.checkIDs()
}

func checkMBR(disk io.ReaderAt, table *gpt.Table) error {
	want := table.ProtectiveMBR()
	got := make([]byte, len(want))
	if _, err := disk.ReadAt(got, 0); err != nil {
		return fmt.Errorf("protective MBR: %w", err)
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("protective MBR: byte %d is 0x%02x; wanted 0x%02x", i, got[i], want[i])
		}
	}
	return nil
}

// sort finds the three partitions of one architecture and refuses others.
func (d *Disk) sort(partitions []gpt.Partition) error {
	if len(partitions) != len(types{}) {
		return fmt.Errorf("%d partitions; wanted one of each: root, root-verity, root-verity-sig", len(partitions))
	}
	for a, kinds := range rootTypes {
		if partitions[0].Type == kinds[0] && partitions[1].Type == kinds[1] && partitions[2].Type == kinds[2] {
			d.Arch, d.parts = a, partitions
		}
	}
	if d.parts == nil {
		return fmt.Errorf("partitions of the types %v, %v and %v; wanted root, root-verity and root-verity-sig of one architecture", partitions[0].Type, partitions[1].Type, partitions[2].Type)
	}
	for _, p := range d.parts[:2] {
		if p.Attributes&readOnly == 0 {
			return fmt.Errorf("partition %d (%s) is not read-only (bit 60 of its attributes %#x)", p.Number, p.Name, p.Attributes)
		}
	}
	if s := d.parts[2]; s.Size() > int64(maxSignature) {
		return fmt.Errorf("partition %d (%s) has %d B; wanted at most %d B", s.Number, s.Name, s.Size(), maxSignature)
	}
	return nil
}

// checkIDs compares the identifiers with the root hash, which newer versions of systemd derive from them.
func (d *Disk) checkIDs() error {
	for i, want := range []gpt.GUID{gpt.GUID(d.RootHash[:16]), gpt.GUID(d.RootHash[16:])} {
		if p := d.parts[i]; p.ID != want {
			return fmt.Errorf("partition %d (%s) has the identifier %v; wanted %v, which is half of the root hash in the signature partition", p.Number, p.Name, p.ID, want)
		}
	}
	return nil
}

// Open is Read for images that may be unsigned. Those have one root partition and possibly its hashes, which are ignored without
// a signature, and no other partitions.
func Open(disk io.ReaderAt, length int64) (*Disk, error) {
	table, err := gpt.Read(disk, length)
	if err != nil {
		return nil, err
	}
	partitions := table.Partitions()
	if len(partitions) == len(types{}) {
		return Read(disk, length)
	}
	if err := table.Damage(); err != nil {
		return nil, err
	}
	d := &Disk{disk: disk, parts: partitions}
	for a, kinds := range rootTypes {
		alike := func(p gpt.Partition, kind gpt.GUID) bool { return p.Type == kind }
		if n := len(partitions); n > 0 && n < len(kinds) && slices.EqualFunc(partitions, kinds[:n], alike) {
			d.Arch = a
		}
	}
	if d.Arch == "" {
		return nil, fmt.Errorf("%d partitions; wanted root, root-verity and root-verity-sig of one architecture, or the first of them", len(partitions))
	}
	return d, nil
}

// Signed reports whether the image has a signature.
func (d *Disk) Signed() bool { return !d.RootHash.IsZero() }

// Offset returns the offset of the file system in bytes.
func (d *Disk) Offset() int64 { return d.parts[0].Offset() }

// Data returns the file system and its length. Call Verify first.
func (d *Disk) Data() *io.SectionReader {
	return io.NewSectionReader(d.disk, d.parts[0].Offset(), d.parts[0].Size())
}

// Verify checks the signature with the certificates, then every block of hashes and data with the root hash. Only the UUID in
// the dm-verity superblock is not covered.
func (d *Disk) Verify(ctx context.Context, trusted []*x509.Certificate) error {
	if err := d.record.verify(trusted); err != nil {
		return fmt.Errorf("signature partition: the signature %w", err)
	}
	hashes := io.NewSectionReader(d.disk, d.parts[1].Offset(), d.parts[1].Size())
	hashed, err := checkSuperblock(hashes, d.parts[0].Size())
	if err != nil {
		return fmt.Errorf("hash partition: %w", err)
	}
	// The partition may be larger than the file system, as systemd-repart makes it.
	if err := checkZeros(d.Data(), hashed); err != nil {
		return fmt.Errorf("data partition: %w", err)
	}
	err = verity.Verify(ctx, d.Data(), hashes, 0, d.RootHash)
	var corrupt *verity.CorruptError
	switch {
	case errors.As(err, &corrupt) && corrupt.Level == verity.DataLevel:
		return fmt.Errorf("data partition: %w", err)
	case err != nil:
		return fmt.Errorf("hash partition: %w", err)
	}
	return nil
}

// checkSuperblock checks the parts of the superblock's block that verity.Verify ignores, and returns how many bytes of data are
// hashed.
func checkSuperblock(hashes io.ReaderAt, dataSize int64) (int64, error) {
	block := make([]byte, verity.BlockSize)
	if _, err := hashes.ReadAt(block, 0); err != nil {
		return 0, err
	}
	p, err := verity.ParseSuperblock(block)
	if err != nil {
		return 0, err
	}
	if room := uint64(dataSize) / verity.BlockSize; p.DataBlocks > room {
		return 0, fmt.Errorf("superblock byte 72: %d data blocks; the data partition has room for %d", p.DataBlocks, room)
	}
	const superblock = 512
	return int64(p.DataBlocks) * verity.BlockSize, checkZeros(io.NewSectionReader(hashes, 0, verity.BlockSize), superblock)
}

// checkZeros refuses anything but zeros from an offset on.
func checkZeros(r *io.SectionReader, from int64) error {
	buffer, zeros := make([]byte, size.MiB), make([]byte, size.MiB)
	for at := from; at < r.Size(); {
		n, err := r.ReadAt(buffer[:min(int64(len(buffer)), r.Size()-at)], at)
		if !bytes.Equal(buffer[:n], zeros[:n]) {
			return fmt.Errorf("not all of bytes %d to %d is zero, and no hash covers them", at, at+int64(n)-1)
		}
		if at += int64(n); err != nil && at < r.Size() {
			return err
		}
	}
	return nil
}
