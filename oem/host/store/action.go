package store

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// Results are sent as ActionResult messages of build.bazel.remote.execution.v2: build cache servers refuse anything else, and
// keep the files that a message names as long as the message. Our result is in the field for standard output:
// the digest of key and JSON, a newline, and the JSON.
const (
	outputFiles protowire.Number = 2 // of ActionResult: message OutputFile
	stdoutRaw   protowire.Number = 5 // of ActionResult: bytes
	filePath    protowire.Number = 1 // of OutputFile: string
	fileDigest  protowire.Number = 2 // of OutputFile: message Digest
	digestHash  protowire.Number = 1 // of Digest: string
	digestSize  protowire.Number = 2 // of Digest: int64
)

// encodeAction writes a result and the blobs that it names.
func encodeAction(key digest.SHA256, result []byte, named []Blob) []byte {
	var message []byte
	for _, b := range named {
		hash := b.SHA256.String()
		sum := appendBytes(nil, digestHash, []byte(hash))
		sum = protowire.AppendTag(sum, digestSize, protowire.VarintType)
		sum = protowire.AppendVarint(sum, uint64(b.Size))
		file := appendBytes(nil, filePath, []byte(hash))
		message = appendBytes(message, outputFiles, appendBytes(file, fileDigest, sum))
	}
	return appendBytes(message, stdoutRaw, append([]byte(seal(key, result)+"\n"), result...))
}

func appendBytes(message []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, field, protowire.BytesType), value)
}

// seal is a digest over key and result, so that no result is accepted for another key.
func seal(key digest.SHA256, result []byte) string {
	return digest.Of(append(key[:], result...)).String()
}

// decodeAction returns the result of a key. Unknown fields are skipped.
func decodeAction(key digest.SHA256, message []byte) ([]byte, error) {
	var output []byte
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, fmt.Errorf("not an ActionResult: %w", protowire.ParseError(n))
		}
		message = message[n:]
		if field == stdoutRaw && kind == protowire.BytesType {
			output, n = protowire.ConsumeBytes(message)
		} else {
			n = protowire.ConsumeFieldValue(field, kind, message)
		}
		if n < 0 {
			return nil, fmt.Errorf("not an ActionResult: %w", protowire.ParseError(n))
		}
		message = message[n:]
	}
	sum, result, found := bytes.Cut(output, []byte("\n"))
	if !found || seal(key, result) != string(sum) {
		return nil, errors.New("the result is damaged or belongs to another key")
	}
	return result, nil
}
