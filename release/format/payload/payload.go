// Package payload writes and reads payloads of Flatcar's updater: format "CrAU", version 1 (update_engine, update_metadata.proto).
//
// In: the image of a partition or of an extension, whose size is a multiple of 4096 bytes, and for an update of the OS
// its kernel. Out: a file with a manifest, the image in compressed chunks, and one RSA signature over both.
// The same input and key give the same bytes.
//
// A delta has only what another release has not. Clients apply every update in a copy of the slot that they run from, and a
// block that no operation writes stays as it was; so a delta moves and replaces blocks there, and in a copy of the kernel. It names the old kernel
// by its digest, by which clients refuse it before anything else. The old partition it does not name, because clients would hash
// the whole device, which may be longer. A partition that is another one is found out by the digest of the result, before
// anything would boot it.
//
// Payloads are untrusted until everything is checked: lengths and offsets against the file, each chunk, the whole image and the
// kernel against their digests, and the signature against a key. Errors name the byte of the file and the field. Also refused,
// although clients accept it: operations out of order, unused bytes, blocks that are written twice, deltas that read what they have
// written, and those in a form that is not the package's own (bsdiff, no digest of the old kernel).
package payload

import (
	"math"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/payload/changes"
	"github.com/flatcar/oem-sysext/release/format/payload/chunks"
)

const (
	magic         = "CrAU"
	formatVersion = 1
	headerSize    = 20 // bytes: magic, version and length of the manifest
	blockSize     = changes.BlockSize
	chunkBlocks   = chunks.Size / blockSize
	// maxData is the maximum size of the data: offsets have 32 bits.
	maxData = math.MaxUint32
	// hole as the first block of an extent means that nothing is written.
	hole = math.MaxUint64
)

// Kinds of operations (InstallOperation.Type). There is one more, with a difference as bsdiff makes it; but the client passes bspatch
// the positions of blocks, and the one in Flatcar's images takes none.
const (
	replace      = 0
	replaceBzip2 = 1
	move         = 2 // from elsewhere in the image; it has no data
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

// manifest is DeltaArchiveManifest.
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

// operation is InstallOperation.
type operation struct {
	kind   uint64
	data   span
	from   []changes.Run // blocks that a move reads
	to     []changes.Run // blocks that are written; of a full update one run, with room for more than is written
	sha256 []byte        // of the data in the payload; empty for noops and moves
	at     int64         // offset of its message in the file, if read from one
}

// procedure is InstallProcedure.
type procedure struct {
	kind       uint64
	operations []operation
	old        Content // that a delta changes; zero for a full update
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
	return operation{kind: replace, data: data, to: []changes.Run{{Start: hole, Blocks: (data.length + blockSize - 1) / blockSize}}}
}
