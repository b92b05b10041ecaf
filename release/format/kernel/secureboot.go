package kernel

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/pkcs7"
)

// Signer signs with the key of a certificate: RSA PKCS #1 v1.5.
type Signer interface {
	Certificate() *x509.Certificate
	Sign(ctx context.Context, name string, d digest.SHA256) ([]byte, error)
}

// Sign puts a Secure Boot signature on a kernel that has none (Microsoft's Authenticode, which UEFI 2.10, 32.5, asks for).
// The name is for whoever signs. The same kernel and key give the same bytes: the signature has no date in it.
// Nothing is written when the signer has none to give, as when it must be made elsewhere first.
//
// sbsign does the same with a key file; a key that is elsewhere cannot be given to it.
func Sign(ctx context.Context, f File, length size.Bytes, name string, signer Signer) error {
	if signer.Certificate() == nil {
		return fmt.Errorf("%s: a Secure Boot signature needs the certificate of its key; name one", name)
	}
	table, err := findCertificates(f, length)
	if err != nil {
		return err
	}
	if table.optional > 0 && !table.hasEntry {
		return fmt.Errorf("%s: its PE header has no directory of signatures; wanted 5 directories or more", name)
	}
	if table.length > 0 || table.optional == 0 {
		return fmt.Errorf("%s: wanted a PE file without a Secure Boot signature; strip the one that it has", name)
	}
	if err := checkSections(f, table.optional, int64(length)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	end := (int64(length) + 7) / 8 * 8 // where a table of signatures may begin
	hashed, err := authenticode(f, table.optional, int64(length), end)
	if err != nil {
		return err
	}
	signed, err := envelope(ctx, name, hashed, signer)
	if err != nil {
		return err
	}
	return attach(f, table.optional, end, signed)
}

// attach writes a signature behind a kernel, and the kernel's header says that it is there.
func attach(f File, optional, end int64, signed []byte) error {
	const headerLength, revision2, pkcs7 = 8, 0x0200, 0x0002 // WIN_CERTIFICATE
	entry := binary.LittleEndian.AppendUint32(nil, uint32(headerLength+len(signed)))
	entry = binary.LittleEndian.AppendUint16(entry, revision2)
	entry = binary.LittleEndian.AppendUint16(entry, pkcs7)
	entry = append(entry, signed...)
	entry = append(entry, make([]byte, -len(entry)&7)...)
	directory := binary.LittleEndian.AppendUint32(nil, uint32(end))
	directory = binary.LittleEndian.AppendUint32(directory, uint32(len(entry)))
	if err := f.Truncate(end); err != nil {
		return err
	}
	if _, err := f.WriteAt(entry, end); err != nil {
		return err
	}
	if _, err := f.WriteAt(directory, optional+optionalCertificate); err != nil {
		return err
	}
	sum, err := checksum(f, end+int64(len(entry)), optional+optionalChecksum)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(binary.LittleEndian.AppendUint32(nil, sum), optional+optionalChecksum)
	return err
}

// authenticode is the digest of a PE file but for its checksum and the place of its signatures, with zeros up to end.
func authenticode(f io.ReaderAt, optional, length, end int64) (digest.SHA256, error) {
	hash := sha256.New()
	for _, part := range [][2]int64{
		{0, optional + optionalChecksum},
		{optional + optionalChecksum + 4, optional + optionalCertificate},
		{optional + optionalCertificate + 8, length},
	} {
		if _, err := io.Copy(hash, io.NewSectionReader(f, part[0], part[1]-part[0])); err != nil {
			return digest.SHA256{}, err
		}
	}
	hash.Write(make([]byte, end-length))
	return digest.SHA256(hash.Sum(nil)), nil
}

// checkSections refuses kernels with gaps between headers and sections. Authenticode leaves gaps out of the digest,
// so whatever is in them would not be vouched for; kernels have none.
func checkSections(f io.ReaderAt, optional, length int64) error {
	const headersLength = 60 // offset in the optional header of the length of all headers
	head, err := readAt(f, optional-coffLength, coffLength+headersLength+4)
	if err != nil {
		return err
	}
	table := optional + int64(binary.LittleEndian.Uint16(head[4+16:]))
	var parts [][2]int64 // beginning and end
	for i := range int64(binary.LittleEndian.Uint16(head[4+2:])) {
		section, err := readAt(f, table+i*sectionLength, sectionLength)
		if err != nil {
			return err
		}
		start, n := int64(binary.LittleEndian.Uint32(section[20:])), int64(binary.LittleEndian.Uint32(section[16:]))
		if n > 0 {
			parts = append(parts, [2]int64{start, start + n})
		}
	}
	slices.SortFunc(parts, func(a, b [2]int64) int { return int(a[0] - b[0]) })
	at := int64(binary.LittleEndian.Uint32(head[coffLength+headersLength:]))
	for _, part := range parts {
		if part[0] != at || part[1] > length {
			return fmt.Errorf("a section has bytes %d to %d; wanted it to begin at byte %d and to end within %d", part[0], part[1]-1, at, length)
		}
		at = part[1]
	}
	return nil
}

// The parts of an Authenticode signature (Microsoft, Windows Authenticode Portable Executable Signature Format),
// which is PKCS #7 (RFC 2315) with signed attributes.
var (
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidIndirectData  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidPEImage       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
)

// indirectData says what was signed: the digest of a PE image.
type indirectData struct {
	Data struct {
		Type  asn1.ObjectIdentifier
		Value peImage
	}
	Digest struct {
		Algorithm pkcs7.Algorithm
		Digest    []byte
	}
}

type peImage struct {
	Flags asn1.BitString
	File  asn1.RawValue // a link to a file; all that look at it want to see an obsolete one
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

type signerInfo struct {
	Version     int
	Certificate pkcs7.Signer
	Digest      pkcs7.Algorithm
	Attributes  asn1.RawValue
	Cipher      pkcs7.Algorithm
	Signature   []byte
}

type signedData struct {
	Version int
	Digests []pkcs7.Algorithm `asn1:"set"`
	Content struct {
		Type  asn1.ObjectIdentifier
		Value indirectData `asn1:"explicit,tag:0"`
	}
	Certificates asn1.RawValue
	Signers      []signerInfo `asn1:"set"`
}

// envelope signs a digest of a PE file.
func envelope(ctx context.Context, name string, hashed digest.SHA256, signer Signer) ([]byte, error) {
	certificate := signer.Certificate()
	data := signedData{Version: 1, Digests: []pkcs7.Algorithm{pkcs7.SHA256}, Certificates: pkcs7.Context0(certificate.Raw)}
	data.Content.Type, data.Content.Value = oidIndirectData, describe(hashed)
	attributes, err := signedAttributes(data.Content.Value)
	if err != nil {
		return nil, err
	}
	s := signerInfo{Version: 1, Certificate: pkcs7.SignerOf(certificate), Digest: pkcs7.SHA256, Cipher: pkcs7.RSA}
	// What is signed is the set as such; in the envelope it has another tag (RFC 2315, 9.3).
	var set asn1.RawValue
	if _, err := asn1.Unmarshal(attributes, &set); err != nil {
		return nil, err
	}
	s.Attributes = pkcs7.Context0(set.Bytes)
	if s.Signature, err = signer.Sign(ctx, name+": Secure Boot", digest.Of(attributes)); err != nil {
		return nil, err
	}
	data.Signers = []signerInfo{s}
	return asn1.Marshal(struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}{pkcs7.SignedData, data})
}

func describe(hashed digest.SHA256) (d indirectData) {
	obsolete := []byte{0xa2, 0x02, 0x80, 0x00} // [2] a file, [0] with an empty name
	d.Data.Type, d.Data.Value = oidPEImage, peImage{File: pkcs7.Context0(obsolete)}
	d.Digest.Algorithm, d.Digest.Digest = pkcs7.SHA256, hashed[:]
	return d
}

// signedAttributes are a set with the content's type and digest. The digest is of the content without its own
// tag and length.
func signedAttributes(content indirectData) ([]byte, error) {
	encoded, err := asn1.Marshal(content)
	if err != nil {
		return nil, err
	}
	var inner asn1.RawValue
	if _, err := asn1.Unmarshal(encoded, &inner); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(inner.Bytes)
	contentType, typeErr := asn1.Marshal(oidIndirectData)
	messageDigest, sumErr := asn1.Marshal(sum[:])
	set, err := asn1.MarshalWithParams([]attribute{
		{oidContentType, []asn1.RawValue{{FullBytes: contentType}}},
		{oidMessageDigest, []asn1.RawValue{{FullBytes: messageDigest}}},
	}, "set")
	return set, errors.Join(typeErr, sumErr, err)
}
