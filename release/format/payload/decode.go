package payload

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/payload/changes"
)

// Limits of what is read into memory. A payload of 4 GiB in chunks of 1 MiB has a manifest of 300 KB.
const (
	maxManifest   = 4 << 20
	maxOperations = 1 << 16
	maxSignatures = 64 << 10
)

// mistake returns an error at a byte of the file.
func mistake(at int64, format string, args ...any) error {
	return fmt.Errorf("byte %d: %w", at, fmt.Errorf(format, args...))
}

// decodeHeader returns the length of the manifest of a file of this size.
func decodeHeader(head []byte, fileSize int64) (int64, error) {
	version, length := binary.BigEndian.Uint64(head[4:]), binary.BigEndian.Uint64(head[12:])
	switch {
	case string(head[:4]) != magic:
		return 0, mistake(0, "magic is %q; wanted %q", head[:4], magic)
	case version != formatVersion:
		return 0, mistake(4, "version is %d; wanted %d", version, formatVersion)
	case length > maxManifest:
		return 0, mistake(12, "manifest length is %d B; wanted at most %d B", length, maxManifest)
	case int64(length) > fileSize-headerSize:
		return 0, mistake(12, "manifest length is %d B, but only %d B follow the header", length, fileSize-headerSize)
	}
	return int64(length), nil
}

// message is an encoded message and its offset in the file.
type message struct {
	encoded []byte
	at      int64
}

// field is one field of a message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  uint64  // of a number
	inner  message // of bytes and messages
	at     int64
}

func (f field) number64(name string) (uint64, error) {
	if f.kind != protowire.VarintType {
		return 0, mistake(f.at, "%s has wire type %d; wanted a number", name, f.kind)
	}
	return f.value, nil
}

func (f field) message(name string) (message, error) {
	if f.kind != protowire.BytesType {
		return message{}, mistake(f.at, "%s has wire type %d; wanted bytes", name, f.kind)
	}
	return f.inner, nil
}

// fields calls each for all fields of a message, in order.
func (m message) fields(name string, each func(field) error) error {
	for rest := m.encoded; len(rest) > 0; {
		f := field{at: m.at + int64(len(m.encoded)-len(rest))}
		var n int
		if f.number, f.kind, n = protowire.ConsumeTag(rest); n < 0 {
			return mistake(f.at, "%s: %w", name, protowire.ParseError(n))
		}
		rest = rest[n:]
		valueAt := m.at + int64(len(m.encoded)-len(rest))
		switch f.kind {
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(rest)
		case protowire.BytesType:
			f.inner.encoded, n = protowire.ConsumeBytes(rest)
			f.inner.at = valueAt + int64(n-len(f.inner.encoded))
		default:
			n = protowire.ConsumeFieldValue(f.number, f.kind, rest)
		}
		if n < 0 {
			return mistake(valueAt, "%s, field %d: %w", name, f.number, protowire.ParseError(n))
		}
		rest = rest[n:]
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// decodeManifest reads a manifest. Unknown fields are skipped, as by clients.
func decodeManifest(encoded message) (*manifest, error) {
	var m manifest
	var hasImage bool
	count := 0
	operations := func(to *[]operation, f field, name string) error {
		if count++; count > maxOperations {
			return mistake(f.at, "more than %d operations", maxOperations)
		}
		o, err := decodeOperation(f, name)
		*to = append(*to, o)
		return err
	}
	err := encoded.fields("manifest", func(f field) (err error) {
		switch f.number {
		case fieldPartitionOperations:
			return operations(&m.partition, f, "partition operation")
		case fieldNoopOperations:
			return operations(&m.noops, f, "noop operation")
		case fieldBlockSize:
			var got uint64
			if got, err = f.number64("block_size"); err == nil && got != blockSize {
				err = mistake(f.at, "block_size is %d; wanted %d", got, blockSize)
			}
		case fieldSignaturesOffset:
			m.signatures.offset, err = f.number64("signatures_offset")
		case fieldSignaturesSize:
			m.signatures.length, err = f.number64("signatures_size")
		case fieldOldPartition:
			return mistake(f.at, "old_partition_info: clients would hash a whole device for it; wanted none")
		case fieldNewPartition:
			hasImage = true
			m.newPartition, err = decodeContent(f, "new_partition_info")
		case fieldProcedures:
			var p procedure
			p, err = decodeProcedure(f, operations)
			for _, other := range m.procedures {
				if other.kind == p.kind {
					return mistake(f.at, "a second procedure for the %s", p.name())
				}
			}
			m.procedures = append(m.procedures, p)
		}
		return err
	})
	if err == nil && !hasImage {
		err = mistake(encoded.at, "manifest: no new_partition_info")
	}
	return &m, err
}

func decodeProcedure(f field, operations func(to *[]operation, f field, name string) error) (p procedure, err error) {
	encoded, err := f.message("procedure")
	if err != nil {
		return p, err
	}
	var hasContent bool
	err = encoded.fields("procedure", func(f field) (err error) {
		switch f.number {
		case fieldProcedureType:
			if p.kind, err = f.number64("procedure type"); err == nil && p.kind != kernelProcedure && p.kind != pcrProcedure {
				err = mistake(f.at, "procedure type is %d; wanted %d (KERNEL) or %d (PCR_POLICY)", p.kind, kernelProcedure, pcrProcedure)
			}
		case fieldProcedureOperations:
			return operations(&p.operations, f, "procedure operation")
		case fieldProcedureOld:
			p.old, err = decodeContent(f, "procedure old_info")
		case fieldProcedureNew:
			hasContent = true
			p.content, err = decodeContent(f, "procedure new_info")
		}
		return err
	})
	if err == nil && !hasContent {
		err = mistake(encoded.at, "%s: no new_info", p.name())
	}
	return p, err
}

func decodeOperation(f field, name string) (operation, error) {
	o := operation{at: f.at}
	encoded, err := f.message(name)
	if err != nil {
		return o, err
	}
	var hasOffset, hasLength bool
	err = encoded.fields(name, func(f field) (err error) {
		switch f.number {
		case fieldType:
			if o.kind, err = f.number64("type"); err == nil && o.kind > move {
				err = mistake(f.at, "%s: type is %d; wanted %d (REPLACE), %d (REPLACE_BZ) or %d (MOVE)", name, o.kind, replace, replaceBzip2, move)
			}
		case fieldDataOffset:
			hasOffset = true
			o.data.offset, err = f.number64("data_offset")
		case fieldDataLength:
			hasLength = true
			o.data.length, err = f.number64("data_length")
		case fieldSrcExtents:
			o.from, err = decodeRun(o.from, f, "src_extents")
		case fieldDstExtents:
			o.to, err = decodeRun(o.to, f, "dst_extents")
		case fieldDataSHA256:
			var sum message
			if sum, err = f.message("data_sha256_hash"); err == nil && len(sum.encoded) != len(digest.SHA256{}) {
				err = mistake(f.at, "%s: data_sha256_hash has %d B; wanted %d B", name, len(sum.encoded), len(digest.SHA256{}))
			}
			o.sha256 = sum.encoded
		}
		return err
	})
	switch {
	case err != nil:
	case len(o.to) == 0:
		err = mistake(f.at, "%s: no dst_extents", name)
	case o.kind == move && (hasOffset || hasLength || o.sha256 != nil):
		err = mistake(f.at, "%s: a MOVE with data; wanted none", name)
	case o.kind != move && (!hasOffset || !hasLength || o.from != nil):
		err = mistake(f.at, "%s: wanted data_offset and data_length, and src_extents for a MOVE only", name)
	case o.data.offset > maxData || o.data.length > maxData:
		err = mistake(f.at, "%s: data_offset %d and data_length %d; wanted numbers of 32 bits", name, o.data.offset, o.data.length)
	}
	return o, err
}

func decodeRun(runs []changes.Run, f field, name string) ([]changes.Run, error) {
	encoded, err := f.message(name)
	if err != nil {
		return nil, err
	}
	var hasStart bool
	var r changes.Run
	err = encoded.fields(name, func(f field) (err error) {
		switch f.number {
		case fieldStartBlock:
			hasStart = true
			r.Start, err = f.number64("start_block")
		case fieldNumBlocks:
			r.Blocks, err = f.number64("num_blocks")
		}
		return err
	})
	if err == nil && !hasStart {
		err = mistake(f.at, "%s: no start_block", name)
	}
	return append(runs, r), err
}

func decodeContent(f field, name string) (c Content, err error) {
	encoded, err := f.message(name)
	if err != nil {
		return c, err
	}
	var hasSize, hasHash bool
	err = encoded.fields(name, func(f field) error {
		switch f.number {
		case fieldInfoSize:
			hasSize = true
			n, err := f.number64("size")
			if err == nil && (n == 0 || n > maxImage) {
				err = mistake(f.at, "%s: size is %d B; wanted 1 B to %d B", name, n, uint64(maxImage))
			}
			c.Size = size.Bytes(n)
			return err
		case fieldInfoHash:
			hasHash = true
			sum, err := f.message("hash")
			if err == nil && len(sum.encoded) != len(c.SHA256) {
				err = mistake(f.at, "%s: hash has %d B; wanted %d B", name, len(sum.encoded), len(c.SHA256))
			}
			copy(c.SHA256[:], sum.encoded)
			return err
		}
		return nil
	})
	if err == nil && (!hasSize || !hasHash) {
		err = mistake(f.at, "%s: wanted size and hash", name)
	}
	return c, err
}

// decodeSignatures returns the signatures of the version that clients check.
func decodeSignatures(encoded message) ([][]byte, error) {
	var found [][]byte
	err := encoded.fields("signatures", func(f field) error {
		if f.number != fieldSignature {
			return nil
		}
		entry, err := f.message("signature")
		if err != nil {
			return err
		}
		var version uint64
		var data message
		err = entry.fields("signature", func(f field) (err error) {
			switch f.number {
			case fieldSignatureVersion:
				version, err = f.number64("version")
			case fieldSignatureData:
				data, err = f.message("data")
			}
			return err
		})
		if version == signatureVersion {
			found = append(found, data.encoded)
		}
		return err
	})
	return found, err
}
