package ddi

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/sign"
)

// The one shape of PKCS #7 (RFC 2315) that the kernel takes for root hashes: signed data, detached, with one signer
// and no attributes. It is little enough to be written down; libraries for all of PKCS #7 want the private key itself.

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	noParameters  = asn1.RawValue{FullBytes: asn1.NullBytes}
	sha256        = algorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, noParameters}
	rsaEncryption = algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, noParameters}
)

type algorithm struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters asn1.RawValue
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content signedData `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version      int
	Digests      []algorithm   `asn1:"set"`
	Content      detached      //
	Certificates asn1.RawValue `asn1:"optional,tag:0"` // not looked at
	Signers      []signerInfo  `asn1:"set"`
}

type detached struct{ Type asn1.ObjectIdentifier }

type signerInfo struct {
	Version     int
	Certificate struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	Digest    algorithm
	Cipher    algorithm
	Signature []byte
}

// encodePKCS7 puts a signature into its envelope, with the certificate, as systemd-repart does.
func encodePKCS7(certificate *x509.Certificate, signature []byte) ([]byte, error) {
	s := signerInfo{Version: 1, Digest: sha256, Cipher: rsaEncryption, Signature: signature}
	s.Certificate.Issuer, s.Certificate.Serial = asn1.RawValue{FullBytes: certificate.RawIssuer}, certificate.SerialNumber
	return asn1.Marshal(contentInfo{oidSignedData, signedData{
		Version:      1,
		Digests:      []algorithm{sha256},
		Content:      detached{oidData},
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: certificate.Raw},
		Signers:      []signerInfo{s},
	}})
}

// envelope is a signature that was taken out of its envelope.
type envelope struct{ signerInfo }

// parsePKCS7 refuses every other shape.
func parsePKCS7(der []byte) (envelope, error) {
	var info contentInfo
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return envelope{}, fmt.Errorf("%w; wanted signed data, detached, without attributes", err)
	}
	// Unmarshal passes over what follows the fields of a sequence, such as content that is not detached.
	again, err := asn1.Marshal(info)
	if err != nil || !bytes.Equal(again, der) {
		return envelope{}, fmt.Errorf("has more than a detached signature without attributes, or is not in DER (%d B; wanted %d B)", len(der), len(again))
	}
	data := info.Content
	if len(data.Signers) != 1 || len(data.Digests) != 1 {
		return envelope{}, fmt.Errorf("%d signers and %d digests; wanted one each", len(data.Signers), len(data.Digests))
	}
	s := data.Signers[0]
	var wrong []error
	for _, field := range []struct {
		name string
		ok   bool
		got  any
	}{
		{"content type", info.Type.Equal(oidSignedData), info.Type},
		{"version", data.Version == 1, data.Version},
		{"digest", data.Digests[0].is(sha256), data.Digests[0].Algorithm},
		{"type of what is signed", data.Content.Type.Equal(oidData), data.Content.Type},
		{"version of the signer", s.Version == 1, s.Version},
		{"digest of the signer", s.Digest.is(sha256), s.Digest.Algorithm},
		{"algorithm", s.Cipher.is(rsaEncryption), s.Cipher.Algorithm},
	} {
		if !field.ok {
			wrong = append(wrong, fmt.Errorf("%s is %v; wanted signed data (version 1, RSA, sha256)", field.name, field.got))
		}
	}
	return envelope{s}, errors.Join(wrong...)
}

func (a algorithm) is(b algorithm) bool {
	return a.Algorithm.Equal(b.Algorithm) && bytes.Equal(a.Parameters.FullBytes, b.Parameters.FullBytes)
}

func (e envelope) isBy(certificate *x509.Certificate) bool {
	return e.Certificate.Serial.Cmp(certificate.SerialNumber) == 0 && bytes.Equal(e.Certificate.Issuer.FullBytes, certificate.RawIssuer)
}

func (e envelope) verify(certificate *x509.Certificate, text digest.SHA256) error {
	public, isRSA := certificate.PublicKey.(*rsa.PublicKey)
	if !isRSA {
		return fmt.Errorf("certificate of %v is for %T; wanted RSA", certificate.Subject, certificate.PublicKey)
	}
	return sign.Verify(public, text, e.Signature)
}

// issuer prints who issued the certificate that signed.
func (e envelope) issuer() string {
	var names pkix.RDNSequence
	if _, err := asn1.Unmarshal(e.Certificate.Issuer.FullBytes, &names); err != nil {
		return "somebody"
	}
	return names.String()
}
