// Package payload writes and reads the payloads that Flatcar's updater takes: format "CrAU", version 1, full updates only
// (update_engine, update_metadata.proto).
//
// In: the image of a partition or of an extension, whose size is a multiple of 4096 bytes, and for an update of the OS
// its kernel. Out: a file with a manifest, the image in compressed chunks, and one RSA signature over both.
// The same input and key give the same bytes.
//
// A payload that is read is hostile until everything in it was checked: lengths and offsets against the file,
// each chunk, the whole image and the kernel against their digests, and the signature against a key. Errors name the byte
// of the file and the field. Refused is also what clients would take but no generator writes: operations that do not
// write front to back, bytes that belong to nothing, updates that need the old image.
package payload

import (
	"math"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

const (
	magic         = "CrAU"
	formatVersion = 1
	headerSize    = 20 // bytes: magic, version and length of the manifest
	blockSize     = 4096
	// chunkSize is how much of an image one operation writes. Clients take any; official payloads have 1 MiB.
	chunkSize   = 1 << 20
	chunkBlocks = chunkSize / blockSize
	// maxData is where data must end: offsets in it have 32 bits.
	maxData = math.MaxUint32
	// hole as the first block of an extent means that nothing is written.
	hole = math.MaxUint64
)

// Kinds of operations (InstallOperation.Type). The other ones need the old image.
const (
	replace      = 0
	replaceBzip2 = 1
)

// Kinds of procedures (InstallProcedure.Type): what is installed beside the partition.
const (
	kernelProcedure = 0
	pcrProcedure    = 1 // expected values of a TPM's registers, in old payloads
)

// Content is what a payload installs in one place.
type Content struct {
	Size   size.Bytes
	SHA256 digest.SHA256
}

// manifest is DeltaArchiveManifest without what full updates do not have.
type manifest struct {
	partition    []operation // partition_operations
	noops        []operation // noop_operations
	signatures   span
	newPartition Content
	procedures   []procedure
}

// span is a part of the data behind the manifest, in bytes.
type span struct{ offset, length uint64 }

func (s span) end() uint64 { return s.offset + s.length }

// operation is InstallOperation with its one extent.
type operation struct {
	kind   uint64
	data   span
	start  uint64 // first block that is written
	blocks uint64 // how many there is room for
	sha256 []byte // of the data as it is in the payload; nothing for noops
	at     int64  // the byte of the file where its message begins, of those that were read
}

// procedure is InstallProcedure.
type procedure struct {
	kind       uint64
	operations []operation
	content    Content
}

func (p procedure) name() string {
	if p.kind == pcrProcedure {
		return "PCR policy"
	}
	return "kernel"
}

// wantedNoops are what clients that know no procedures go through instead, so that for them too all data is
// accounted for: the data of procedures, then the signatures.
func (m *manifest) wantedNoops() []operation {
	var noops []operation
	for _, p := range m.procedures {
		for _, o := range p.operations {
			noops = append(noops, noop(o.data))
		}
	}
	if m.signatures != (span{}) {
		noops = append(noops, noop(m.signatures))
	}
	return noops
}

func noop(data span) operation {
	return operation{kind: replace, data: data, start: hole, blocks: (data.length + blockSize - 1) / blockSize}
}
