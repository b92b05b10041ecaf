package payload

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flatcar/oem-sysext/release/format/payload/changes"
)

// Field numbers of update_metadata.proto.
const (
	fieldPartitionOperations protowire.Number = 1
	fieldNoopOperations      protowire.Number = 2
	fieldBlockSize           protowire.Number = 3
	fieldSignaturesOffset    protowire.Number = 4
	fieldSignaturesSize      protowire.Number = 5
	fieldOldPartition        protowire.Number = 8
	fieldNewPartition        protowire.Number = 9
	fieldProcedures          protowire.Number = 10

	fieldType       protowire.Number = 1
	fieldDataOffset protowire.Number = 2
	fieldDataLength protowire.Number = 3
	fieldSrcExtents protowire.Number = 4
	fieldDstExtents protowire.Number = 6
	fieldDataSHA256 protowire.Number = 8

	fieldProcedureType       protowire.Number = 1
	fieldProcedureOperations protowire.Number = 2
	fieldProcedureOld        protowire.Number = 3
	fieldProcedureNew        protowire.Number = 4

	fieldStartBlock protowire.Number = 1
	fieldNumBlocks  protowire.Number = 2

	fieldInfoSize protowire.Number = 1
	fieldInfoHash protowire.Number = 2

	fieldSignature        protowire.Number = 1
	fieldSignatureVersion protowire.Number = 1
	fieldSignatureData    protowire.Number = 2
)

// header returns the header of a payload.
func header(manifestLength int) []byte {
	head := binary.BigEndian.AppendUint64([]byte(magic), formatVersion)
	return binary.BigEndian.AppendUint64(head, uint64(manifestLength))
}

func (m *manifest) encode() []byte {
	var b []byte
	for _, o := range m.partition {
		b = appendMessage(b, fieldPartitionOperations, o.encode())
	}
	for _, o := range m.noops {
		b = appendMessage(b, fieldNoopOperations, o.encode())
	}
	b = appendNumber(b, fieldBlockSize, blockSize)
	b = appendNumber(b, fieldSignaturesOffset, m.signatures.offset)
	b = appendNumber(b, fieldSignaturesSize, m.signatures.length)
	b = appendMessage(b, fieldNewPartition, m.newPartition.encode())
	for _, p := range m.procedures {
		message := appendNumber(nil, fieldProcedureType, p.kind)
		for _, o := range p.operations {
			message = appendMessage(message, fieldProcedureOperations, o.encode())
		}
		if p.old != (Content{}) {
			message = appendMessage(message, fieldProcedureOld, p.old.encode())
		}
		message = appendMessage(message, fieldProcedureNew, p.content.encode())
		b = appendMessage(b, fieldProcedures, message)
	}
	return b
}

func (o operation) encode() []byte {
	b := appendNumber(nil, fieldType, o.kind)
	if o.kind != move {
		b = appendNumber(b, fieldDataOffset, o.data.offset)
		b = appendNumber(b, fieldDataLength, o.data.length)
	}
	b = appendRuns(b, fieldSrcExtents, o.from)
	b = appendRuns(b, fieldDstExtents, o.to)
	if o.sha256 != nil {
		b = appendMessage(b, fieldDataSHA256, o.sha256)
	}
	return b
}

func appendRuns(b []byte, field protowire.Number, runs []changes.Run) []byte {
	for _, r := range runs {
		b = appendMessage(b, field, appendNumber(appendNumber(nil, fieldStartBlock, r.Start), fieldNumBlocks, r.Blocks))
	}
	return b
}

func (c Content) encode() []byte {
	return appendMessage(appendNumber(nil, fieldInfoSize, uint64(c.Size)), fieldInfoHash, c.SHA256[:])
}

// encodeSignatures makes the message Signatures with one entry. Clients only check the entry of version 2.
func encodeSignatures(signature []byte) []byte {
	entry := appendMessage(appendNumber(nil, fieldSignatureVersion, signatureVersion), fieldSignatureData, signature)
	return appendMessage(nil, fieldSignature, entry)
}

func appendNumber(b []byte, field protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), value)
}

func appendMessage(b []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), value)
}
