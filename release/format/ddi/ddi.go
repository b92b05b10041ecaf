// Package ddi makes and checks signed extension images: a disk with a partition of data, one of dm-verity hashes and one
// with the signature of the root hash (the Discoverable Partitions Specification).
//
// In: a file system image and a signer. Out: a disk image, laid out as systemd-repart --make-ddi=sysext does, whose bytes
// depend only on the file system, its digest, the architecture and the key. Data is copied as a stream.
//
// Such an image is always of the root type, whatever it extends: systemd 257 and older do not verify the usr type.
//
// Refused: file systems whose size is not a multiple of 4096 bytes, and signers without a certificate. In images that are read,
// every wrong byte, reported with the part that contains it.
package ddi

import (
	"fmt"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/gpt"
	"github.com/flatcar/oem-sysext/release/format/verity"
)

// types are the partition types of data, hashes and signature.
type types [3]gpt.GUID

// rootTypes are from the Discoverable Partitions Specification.
var rootTypes = map[arch.Arch]types{
	arch.AMD64: {
		gpt.MustGUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
		gpt.MustGUID("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"),
		gpt.MustGUID("41092b05-9fc8-4523-994f-2def0408b176"),
	},
	arch.ARM64: {
		gpt.MustGUID("b921b045-1df0-41c3-af44-4c6f280d3fae"),
		gpt.MustGUID("df3300ce-d69f-4c92-978c-9bfb0f38d820"),
		gpt.MustGUID("6db69de6-29f4-4758-a7a5-962190f00ce3"),
	},
}

const (
	readOnly = 1 << 60 // attribute of partitions (Discoverable Partitions Specification, partition flags)

	blockSectors = verity.BlockSize / gpt.SectorSize
	firstSector  = 40 // behind the partition table, aligned to a block

	signatureSize = 16 * size.KiB // as made by systemd-repart; a 4096-bit RSA signature takes 5 KiB
	maxSignature  = 4 * size.MiB  // systemd's limit
)

// layout places the partitions and returns the number of sectors of the disk.
func layout(root, seed digest.SHA256, a arch.Arch, dataBlocks uint64) (*gpt.Table, uint64, error) {
	kinds, known := rootTypes[a]
	if !known {
		return nil, 0, fmt.Errorf("no partition type for %q; wanted amd64 or arm64", a)
	}
	partitions := []gpt.Partition{
		{Name: "root-" + a.Systemd(), ID: gpt.GUID(root[:16]), Attributes: readOnly, Last: dataBlocks * blockSectors},
		{Name: "root-" + a.Systemd() + "-verity", ID: gpt.GUID(root[16:]), Attributes: readOnly, Last: uint64(verity.HashSize(dataBlocks) / gpt.SectorSize)},
		{Name: "root-" + a.Systemd() + "-verity-sig", ID: derived(seed, "signature"), Last: uint64(signatureSize / gpt.SectorSize)},
	}
	next := uint64(firstSector)
	for i := range partitions {
		p := &partitions[i]
		p.Number, p.Type = i+1, kinds[i]
		p.First, p.Last = next, next+p.Last-1
		next = p.Last + 1
	}
	const backupSectors = 33
	sectors := (next + backupSectors + blockSectors - 1) / blockSectors * blockSectors
	table, err := gpt.New(derived(seed, "disk"), sectors, partitions)
	return table, sectors, err
}

// derived makes a reproducible identifier from a digest, marked as such (RFC 9562, version 8).
func derived(seed digest.SHA256, what string) gpt.GUID {
	d := digest.Of(append([]byte(what), seed[:]...))
	id := gpt.GUID(d[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}
