package payload

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// spoiled makes a payload of two chunks and a kernel whose manifest or data was changed on the way.
func spoiled(t *testing.T, change func(m *manifest, data []byte)) []byte {
	t.Helper()
	image := append(random(chunkSize, 1), random(3*blockSize, 2)...)
	var data bytes.Buffer
	kernel := source(random(5000, 3))
	m, err := stored(t).writeData(t.Context(), &data, source(image), &kernel)
	check(t, err)
	m.signatures.length = 264
	m.noops = m.wantedNoops()
	content := append(data.Bytes(), make([]byte, 264)...)
	change(m, content)
	encoded := m.encode()
	return bytes.Join([][]byte{header(len(encoded)), encoded, content}, nil)
}

func readAll(payload []byte) error {
	p, err := Read(bytes.NewReader(payload), int64(len(payload)))
	if err != nil {
		return err
	}
	return p.Extract(context.Background(), io.Discard, io.Discard)
}

func TestManifestsThatAreRefused(t *testing.T) {
	if err := readAll(spoiled(t, func(*manifest, []byte) {})); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for want, change := range map[string]func(m *manifest, data []byte){
		"partition operation 1: data_offset is 1048577; wanted 1048576":    func(m *manifest, _ []byte) { m.partition[1].data.offset++ },
		"partition operation 1: start_block is 255; wanted 256":            func(m *manifest, _ []byte) { m.partition[1].to[0].Start-- },
		"partition operation 1: start_block is 257; wanted 256":            func(m *manifest, _ []byte) { m.partition[1].to[0].Start++ },
		"partition operation 1: start_block is 18446744073709551615":       func(m *manifest, _ []byte) { m.partition[1].to[0].Start = hole },
		"partition operation 0: num_blocks is 0":                           func(m *manifest, _ []byte) { m.partition[0].to[0].Blocks = 0 },
		"partition operation 0: data_length is 1048576 B; wanted the 4096": func(m *manifest, _ []byte) { m.partition[0].to[0].Blocks = 1 },
		"partition operation 1: the 1060864 B of the content are written": func(m *manifest, _ []byte) {
			m.partition[0].kind, m.partition[0].to[0].Blocks = replaceBzip2, math.MaxUint64
		},
		"partition operation 1: no data_sha256_hash":          func(m *manifest, _ []byte) { m.partition[1].sha256 = nil },
		"type is 3; wanted 0 (REPLACE)":                       func(m *manifest, _ []byte) { m.partition[0].kind = 3 },
		"wanted data_offset and data_length, and src_extents": func(m *manifest, _ []byte) { m.partition[0].from = m.partition[0].to },
		"operation 1: a MOVE, or more than one extent":        func(m *manifest, _ []byte) { m.partition[1].to = append(m.partition[1].to, m.partition[1].to[0]) },
		"old_info is for another kind of update": func(m *manifest, _ []byte) {
			m.procedures = append(m.procedures, procedure{kind: pcrProcedure, old: m.procedures[0].content, content: m.procedures[0].content})
		},
		"data_sha256_hash has 4 B; wanted 32 B": func(m *manifest, _ []byte) { m.partition[0].sha256 = []byte("abcd") },
		"wanted numbers of 32 bits":             func(m *manifest, _ []byte) { m.partition[0].data.length = 1 << 32 },
		"partition operations write 256 blocks; wanted 259": func(m *manifest, _ []byte) {
			m.partition = m.partition[:1]
		},
		"size is 1060865 B; wanted a multiple of 4096 B": func(m *manifest, _ []byte) { m.newPartition.Size++ },
		"size is 0 B; wanted 1 B to":                     func(m *manifest, _ []byte) { m.newPartition.Size = 0 },
		"size is 18446744073709551615 B":                 func(m *manifest, _ []byte) { m.newPartition.Size = -1 },
		"partition operations give sha256":               func(m *manifest, _ []byte) { m.newPartition.SHA256[0] ^= 1 },
		"kernel operation 0: data_offset is 0":           func(m *manifest, _ []byte) { m.procedures[0].operations[0].data.offset = 0 },
		"kernel operations give sha256":                  func(m *manifest, _ []byte) { m.procedures[0].content.SHA256[0] ^= 1 },
		"a second procedure for the kernel":              func(m *manifest, _ []byte) { m.procedures = append(m.procedures, m.procedures[0]) },
		"procedure type is 2":                            func(m *manifest, _ []byte) { m.procedures[0].kind = 2 },
		"signatures_offset is 1065865; the data ends at": func(m *manifest, _ []byte) { m.signatures.offset++ },
		"signatures_size is 0 B":                         func(m *manifest, _ []byte) { m.signatures.length = 0 },
		"the manifest accounts for 1066127 B":            func(m *manifest, _ []byte) { m.signatures.length-- },
		"noop operation 0: type 0, data 7+5000":          func(m *manifest, _ []byte) { m.noops[0].data.offset = 7 },
		"noop operation 2 is for no data":                func(m *manifest, _ []byte) { m.noops = append(m.noops, m.noops[0]) },
		"there are 0 noop operations; wanted 2":          func(m *manifest, _ []byte) { m.noops = nil },
		"partition operation 1: data has sha256":         func(_ *manifest, data []byte) { data[chunkSize] ^= 1 },
		"kernel operation 0: data has sha256":            func(_ *manifest, data []byte) { data[chunkSize+3*blockSize] ^= 1 },
		"partition operation 0: bzip2 data invalid":      func(m *manifest, _ []byte) { m.partition[0].kind = replaceBzip2 },
	} {
		err := readAll(spoiled(t, change))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
		if strings.Contains(want, "operation 1: ") && !strings.HasPrefix(err.Error(), "byte ") {
			t.Errorf("no byte of the file in: %v", err)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	whole := spoiled(t, func(*manifest, []byte) {})
	with := func(at int, value uint64) []byte {
		changed := bytes.Clone(whole)
		binary.BigEndian.PutUint64(changed[at:], value)
		return changed
	}
	manifestOf := func(encoded []byte) []byte { return append(header(len(encoded)), encoded...) }
	number := func(f protowire.Number) []byte { return appendNumber(nil, f, 1) }
	operation := func(content ...byte) []byte { return manifestOf(appendMessage(nil, fieldPartitionOperations, content)) }
	for want, payload := range map[string][]byte{
		"payload has 19 B; wanted at least the 20 B":         whole[:19],
		`byte 0: magic is "DrAU"`:                            append([]byte("D"), whole[1:]...),
		"byte 4: version is 2; wanted 1":                     with(4, 2),
		"byte 12: manifest length is 18446744073709551615 B": with(12, math.MaxUint64),
		"byte 12: manifest length is 4194304 B, but only":    with(12, maxManifest),
		"data has 1066127 B; the manifest accounts for":      whole[:len(whole)-1],
		"data has 1066129 B; the manifest accounts for":      append(bytes.Clone(whole), 0),
		"byte 20: manifest: no new_partition_info":           manifestOf(nil),
		"byte 20: old_partition_info":                        manifestOf(appendMessage(nil, fieldOldPartition, nil)),
		"byte 20: block_size is 1; wanted 4096":              manifestOf(number(fieldBlockSize)),
		"byte 20: partition operation has wire type 0":       manifestOf(number(fieldPartitionOperations)),
		"byte 20: manifest: unexpected EOF":                  manifestOf([]byte{0x80}),
		"byte 21: manifest, field 1: unexpected EOF":         manifestOf([]byte{0x0a, 0xff, 0x01}),
		"byte 20: partition operation: no dst_extents":       operation(),
		"byte 22: src_extents: no start_block":               operation(appendMessage(nil, fieldSrcExtents, nil)...),
		"byte 22: dst_extents: no start_block":               operation(appendMessage(nil, fieldDstExtents, nil)...),
		"new_partition_info: wanted size and hash":           manifestOf(appendMessage(nil, fieldNewPartition, nil)),
		"more than 65536 operations":                         manifestOf(bytes.Repeat(appendMessage(nil, fieldNoopOperations, spanOperation()), maxOperations+1)),
		"byte 20: procedure has wire type 0; wanted bytes":   manifestOf(number(fieldProcedures)),
		"byte 22: kernel: no new_info":                       manifestOf(appendMessage(nil, fieldProcedures, nil)),
		"procedure old_info: wanted size":                    manifestOf(appendMessage(nil, fieldProcedures, appendMessage(nil, fieldProcedureOld, nil))),
	} {
		if err := readAll(payload); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

func spanOperation() []byte { return noop(span{0, 1}).encode() }

func TestCompressedDataOfTheWrongLength(t *testing.T) {
	w := compressing(t, 1)
	for want, length := range map[string]int{"gives 4097 B or more; wanted 4096 B": chunkSize, "gives 100 B or more; wanted 4096 B": 100} {
		compressed, err := w.Compress(t.Context(), [][]byte{make([]byte, length)})
		check(t, err)
		w.Compress = func(context.Context, [][]byte) ([][]byte, error) { return compressed, nil }
		payload := write(t, w, newKey(t, 2048), make([]byte, blockSize), nil)
		if err := readAll(payload); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
		w = compressing(t, 1)
	}
}

func TestOnlyVersion2Counts(t *testing.T) {
	k := newKey(t, 2048)
	payload := write(t, stored(t), k, text(blockSize), nil)
	verify := func(change func(signatures []byte)) error {
		changed := bytes.Clone(payload)
		change(changed[len(changed)-264:])
		p, err := Read(bytes.NewReader(changed), int64(len(changed)))
		check(t, err)
		return p.VerifySignature(t.Context(), k.Public())
	}
	if err := verify(func([]byte) {}); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func([]byte){
		"no signature of version 2": func(s []byte) { s[4] = 1 },
		"bad signature for sha256":  func(s []byte) { s[100] ^= 1 },
		"signatures: ":              func(s []byte) { s[0] = 0 },
	} {
		if err := verify(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want %q", err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	k := newKey(f, 2048)
	f.Add(write(f, stored(f), k, text(blockSize), text(100)))
	f.Add(write(f, stored(f), k, text(2*blockSize), nil))
	f.Add(append(header(3), 0x0a, 0xff, 0x01))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := Read(bytes.NewReader(payload), int64(len(payload)))
		if err != nil {
			return
		}
		_ = p.VerifySignature(t.Context(), k.Public()) // may fail, and must not crash
		var image, kernel bytes.Buffer
		if p.Image.Size+p.Kernel.Size > 1<<24 {
			return
		}
		if p.Extract(t.Context(), &image, &kernel) == nil && (image.Len() != int(p.Image.Size) || kernel.Len() != int(p.Kernel.Size)) {
			t.Errorf("image of %d B and kernel of %d B; the manifest says %d B and %d B", image.Len(), kernel.Len(), p.Image.Size, p.Kernel.Size)
		}
	})
}
