package payload

import (
	"bytes"
	"compress/bzip2"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// maxImage is larger than any Flatcar partition, in bytes.
const maxImage = 16 << 30

// Payload is a payload with a checked manifest. Its data is not checked yet.
type Payload struct {
	Image  Content
	Kernel Content // zero without a kernel
	From   Content // the old kernel, of a delta; zero for a full update

	file     io.ReaderAt
	data     int64 // offset of the data in the file
	manifest *manifest
}

// Read reads the manifest of a payload in a file of this size, and checks that every byte of the data belongs to
// an operation or to the signatures, and every byte of what is installed is written once.
func Read(file io.ReaderAt, fileSize int64) (*Payload, error) {
	if fileSize < headerSize {
		return nil, fmt.Errorf("payload has %d B; wanted at least the %d B of a header", fileSize, headerSize)
	}
	head := make([]byte, headerSize)
	if err := readAt(file, head, 0, "header"); err != nil {
		return nil, err
	}
	length, err := decodeHeader(head, fileSize)
	if err != nil {
		return nil, err
	}
	encoded := make([]byte, length)
	if err := readAt(file, encoded, headerSize, "manifest"); err != nil {
		return nil, err
	}
	m, err := decodeManifest(message{encoded, headerSize})
	if err != nil {
		return nil, err
	}
	p := &Payload{Image: m.newPartition, file: file, data: headerSize + length, manifest: m}
	for _, procedure := range m.procedures {
		if procedure.kind == kernelProcedure {
			p.Kernel, p.From = procedure.content, procedure.old
		}
	}
	return p, p.check(fileSize)
}

func readAt(file io.ReaderAt, to []byte, at int64, what string) error {
	if n, err := file.ReadAt(to, at); n < len(to) {
		return mistake(at, "%s of %d B: %w", what, len(to), err)
	}
	return nil
}

// check compares all offsets with each other and with the file.
func (p *Payload) check(fileSize int64) error {
	m := p.manifest
	if p.Image.Size%blockSize != 0 {
		return mistake(headerSize, "new_partition_info: size is %d B; wanted a multiple of %d B", p.Image.Size, blockSize)
	}
	check := checkOperations
	if p.IsDelta() {
		check = checkChanges
	}
	end, err := check("partition operation", m.partition, p.Image, 0)
	if err != nil {
		return err
	}
	for _, procedure := range m.procedures {
		if procedure.old == (Content{}) == p.IsDelta() {
			return mistake(headerSize, "%s: old_info is for another kind of update than that of the kernel; wanted both full, or both deltas", procedure.name())
		}
		if end, err = check(procedure.name()+" operation", procedure.operations, procedure.content, end); err != nil {
			return err
		}
	}
	if s := m.signatures; s != (span{}) {
		if s.offset != end {
			return mistake(headerSize, "signatures_offset is %d; the data ends at %d", s.offset, end)
		}
		if s.length == 0 || s.length > maxSignatures {
			return mistake(headerSize, "signatures_size is %d B; wanted 1 B to %d B", s.length, maxSignatures)
		}
		end = s.end()
	}
	if got := uint64(fileSize - p.data); got != end {
		return mistake(p.data, "data has %d B; the manifest accounts for %d B", got, end)
	}
	return checkNoops(m.noops, m.wantedNoops())
}

// checkOperations checks that operations take their data one after the other from an offset on, and write the content from
// front to back. It returns where their data ends. Operations have room for whole chunks; only what the content
// has is written, so there may be more room than content at its end.
func checkOperations(name string, operations []operation, c Content, offset uint64) (uint64, error) {
	blocks := uint64(c.Size+blockSize-1) / blockSize
	var next uint64
	for i, o := range operations {
		switch {
		case o.kind == move || len(o.to) != 1:
			return 0, mistake(o.at, "%s %d: a MOVE, or more than one extent; wanted a full update, or old_info of the kernel", name, i)
		case o.data.offset != offset:
			return 0, mistake(o.at, "%s %d: data_offset is %d; wanted %d, where the data before it ends", name, i, o.data.offset, offset)
		case next == blocks:
			return 0, mistake(o.at, "%s %d: the %d B of the content are written already", name, i, c.Size)
		case o.to[0].Start != next:
			return 0, mistake(o.at, "%s %d: start_block is %d; wanted %d, where the operation before it ends", name, i, o.to[0].Start, next)
		case o.to[0].Blocks == 0:
			return 0, mistake(o.at, "%s %d: num_blocks is 0", name, i)
		case o.sha256 == nil:
			return 0, mistake(o.at, "%s %d: no data_sha256_hash", name, i)
		}
		if writes := o.writes(c); o.kind == replace && o.data.length != writes {
			return 0, mistake(o.at, "%s %d: data_length is %d B; wanted the %d B that it writes", name, i, o.data.length, writes)
		}
		offset = o.data.end()
		next += min(o.to[0].Blocks, blocks-next)
	}
	if next != blocks {
		return 0, fmt.Errorf("%ss write %d blocks; wanted %d, for %d B", name, next, blocks, c.Size)
	}
	return offset, nil
}

// writes returns how many bytes of the content a checked operation of a full update writes.
func (o operation) writes(c Content) uint64 {
	left := uint64(c.Size) - o.to[0].Start*blockSize
	if o.to[0].Blocks >= left/blockSize+1 { // avoids an overflow
		return left
	}
	return o.to[0].Blocks * blockSize
}

func checkNoops(got, want []operation) error {
	for i, o := range got {
		if i >= len(want) {
			return mistake(o.at, "noop operation %d is for no data; wanted %d of them", i, len(want))
		}
		w := want[i]
		if o.kind != w.kind || o.data != w.data || !slices.Equal(o.to, w.to) {
			return mistake(o.at, "noop operation %d: type %d, data %d+%d, blocks %v; wanted type %d, data %d+%d, blocks %v",
				i, o.kind, o.data.offset, o.data.length, o.to, w.kind, w.data.offset, w.data.length, w.to)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("there are %d noop operations; wanted %d, one for each operation of a procedure and one for the signatures", len(got), len(want))
	}
	return nil
}

// IsDelta reports whether the payload changes what an earlier release has.
func (p *Payload) IsDelta() bool { return p.From != Content{} }

// Signed reports whether the manifest lists a signature.
func (p *Payload) Signed() bool { return p.manifest.signatures != span{} }

// VerifySignature checks that the payload has a signature by the key, of the version that clients check.
func (p *Payload) VerifySignature(ctx context.Context, key *rsa.PublicKey) error {
	if !p.Signed() {
		return errors.New("payload has no signature")
	}
	s := p.manifest.signatures
	at := p.data + int64(s.offset)
	encoded := make([]byte, s.length)
	if err := readAt(p.file, encoded, at, "signatures"); err != nil {
		return err
	}
	found, err := decodeSignatures(message{encoded, at})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return mistake(at, "no signature of version %d, the only one that update_engine checks", signatureVersion)
	}
	d, _, err := digest.OfReader(withContext{ctx, io.NewSectionReader(p.file, 0, at)})
	if err != nil {
		return err
	}
	for _, signature := range found {
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, d[:], signature) == nil {
			return nil
		}
	}
	return mistake(at, "bad signature for sha256 %v of everything before it and this key of %d bits", d, key.N.BitLen())
}

// Extract writes the image, and the kernel where there is one, and checks all data against the digests in the manifest.
// After an error, the output must not be used. A delta has only a part of these; see Apply.
func (p *Payload) Extract(ctx context.Context, image, kernel io.Writer) error {
	if err := p.extract(ctx, "partition operation", p.manifest.partition, p.Image, image); err != nil {
		return err
	}
	for _, procedure := range p.manifest.procedures {
		to := io.Discard
		if procedure.kind == kernelProcedure {
			to = kernel
		}
		if err := p.extract(ctx, procedure.name()+" operation", procedure.operations, procedure.content, to); err != nil {
			return err
		}
	}
	return nil
}

func (p *Payload) extract(ctx context.Context, name string, operations []operation, c Content, to io.Writer) error {
	whole := sha256.New()
	to = io.MultiWriter(whole, to)
	for i, o := range operations {
		if err := p.unpack(ctx, o, int64(o.writes(c)), to); err != nil {
			return mistake(p.data+int64(o.data.offset), "%s %d: %w", name, i, err)
		}
	}
	if got := digest.SHA256(whole.Sum(nil)); got != c.SHA256 {
		return fmt.Errorf("%ss give sha256 %v; the manifest says %v", name, got, c.SHA256)
	}
	return nil
}

// unpack writes what the data of an operation is compressed from, and checks its length and the digest of the data.
func (p *Payload) unpack(ctx context.Context, o operation, want int64, to io.Writer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	sum := sha256.New()
	data := io.TeeReader(io.NewSectionReader(p.file, p.data+int64(o.data.offset), int64(o.data.length)), sum)
	content := data
	if o.kind == replaceBzip2 {
		content = bzip2.NewReader(data)
	}
	n, err := io.Copy(to, io.LimitReader(content, want+1))
	if err == nil && n != want {
		err = fmt.Errorf("gives %d B or more; wanted %d B", n, want)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, data) // left by the decompressor
	}
	if err == nil && !bytes.Equal(sum.Sum(nil), o.sha256) {
		err = fmt.Errorf("data has sha256 %x; data_sha256_hash says %x", sum.Sum(nil), o.sha256)
	}
	return err
}
