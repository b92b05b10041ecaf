package ddi

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/host/digest"
	"github.com/flatcar/oem-sysext/release/format/pkcs7"
	"github.com/flatcar/oem-sysext/release/format/sign"
)

// The only form of PKCS #7 (RFC 2315) that the kernel accepts for root hashes: signed data, detached, with one signer and no
// attributes.

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content signedData `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version      int
	Digests      []pkcs7.Algorithm `asn1:"set"`
	Content      detached          //
	Certificates asn1.RawValue     `asn1:"optional,tag:0"` // ignored
	Signers      []signerInfo      `asn1:"set"`
}

type detached struct{ Type asn1.ObjectIdentifier }

type signerInfo struct {
	Version     int
	Certificate pkcs7.Signer
	Digest      pkcs7.Algorithm
	Cipher      pkcs7.Algorithm
	Signature   []byte
}

// encodePKCS7 wraps a signature in an envelope with the certificate, as systemd-repart does.
func encodePKCS7(certificate *x509.Certificate, signature []byte) ([]byte, error) {
	s := signerInfo{1, pkcs7.SignerOf(certificate), pkcs7.SHA256, pkcs7.RSA, signature}
	return asn1.Marshal(contentInfo{pkcs7.SignedData, signedData{
		Version:      1,
		Digests:      []pkcs7.Algorithm{pkcs7.SHA256},
		Content:      detached{pkcs7.Data},
		Certificates: pkcs7.Context0(certificate.Raw),
		Signers:      []signerInfo{s},
	}})
}

// envelope is a parsed signature.
type envelope struct{ signerInfo }

// parsePKCS7 refuses every other form.
func parsePKCS7(der []byte) (envelope, error) {
	var info contentInfo
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return envelope{}, fmt.Errorf("%w; wanted signed data, detached, without attributes", err)
	}
	// Unmarshal ignores trailing data in a sequence, such as attached content.
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
		{"content type", info.Type.Equal(pkcs7.SignedData), info.Type},
		{"version", data.Version == 1, data.Version},
		{"digest", data.Digests[0].Is(pkcs7.SHA256), data.Digests[0].Algorithm},
		{"type of the signed content", data.Content.Type.Equal(pkcs7.Data), data.Content.Type},
		{"version of the signer", s.Version == 1, s.Version},
		{"digest of the signer", s.Digest.Is(pkcs7.SHA256), s.Digest.Algorithm},
		{"algorithm", s.Cipher.Is(pkcs7.RSA), s.Cipher.Algorithm},
	} {
		if !field.ok {
			wrong = append(wrong, fmt.Errorf("%s is %v; wanted signed data (version 1, RSA, sha256)", field.name, field.got))
		}
	}
	return envelope{s}, errors.Join(wrong...)
}

func (e envelope) isBy(certificate *x509.Certificate) bool { return e.Certificate.Is(certificate) }

func (e envelope) verify(certificate *x509.Certificate, text digest.SHA256) error {
	public, isRSA := certificate.PublicKey.(*rsa.PublicKey)
	if !isRSA {
		return fmt.Errorf("certificate of %v is for %T; wanted RSA", certificate.Subject, certificate.PublicKey)
	}
	return sign.Verify(public, text, e.Signature)
}

// issuer returns the name of the certificate's issuer.
func (e envelope) issuer() string {
	var names pkix.RDNSequence
	if _, err := asn1.Unmarshal(e.Certificate.Issuer.FullBytes, &names); err != nil {
		return "somebody"
	}
	return names.String()
}
