// Package payload writes and reads payloads of Flatcar's updater: format "CrAU", version 1, full updates only
// (update_engine, update_metadata.proto).
//
// In: the image of a partition or of an extension, whose size is a multiple of 4096 bytes, and for an update of the OS
// its kernel. Out: a file with a manifest, the image in compressed chunks, and one RSA signature over both.
// The same input and key give the same bytes.
//
// Payloads are untrusted until everything is checked: lengths and offsets against the file, each chunk, the whole image and the
// kernel against their digests, and the signature against a key. Errors name the byte of the file and the field. Also refused,
// although clients accept it: operations out of order, unused bytes, updates that need the old image.
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
	// chunkSize is the size of an operation's output. Clients accept any; official payloads use 1 MiB.
	chunkSize   = 1 << 20
	chunkBlocks = chunkSize / blockSize
	// maxData is the maximum size of the data: offsets have 32 bits.
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

// Content is the content that a payload installs in one place.
type Content struct {
	Size   size.Bytes
	SHA256 digest.SHA256
}

// manifest is DeltaArchiveManifest, limited to full updates.
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
	blocks uint64 // room, in blocks
	sha256 []byte // of the data in the payload; empty for noops
	at     int64  // offset of its message in the file, if read from one
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

// wantedNoops are the operations for clients without procedures, so that they account for all data: that of procedures, then
// the signatures.
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
