// Package pkcs7 has the parts of PKCS #7 (RFC 2315) that signatures of root hashes and of kernels share. No library is used,
// because general ones add the time of signing, which is not reproducible.
package pkcs7

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
)

// Types of content.
var (
	Data       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	SignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

// The algorithms of all signatures.
var (
	noParameters = asn1.RawValue{FullBytes: asn1.NullBytes}
	SHA256       = Algorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, noParameters}
	RSA          = Algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, noParameters}
)

// Algorithm names an algorithm.
type Algorithm struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters asn1.RawValue
}

// Is reports whether two are equal, with equal parameters.
func (a Algorithm) Is(b Algorithm) bool {
	return a.Algorithm.Equal(b.Algorithm) && bytes.Equal(a.Parameters.FullBytes, b.Parameters.FullBytes)
}

// Signer names a certificate by its issuer and its number.
type Signer struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

// SignerOf names a certificate.
func SignerOf(c *x509.Certificate) Signer {
	return Signer{asn1.RawValue{FullBytes: c.RawIssuer}, c.SerialNumber}
}

// Is reports whether this is a certificate's name.
func (s Signer) Is(c *x509.Certificate) bool {
	return s.Serial.Cmp(c.SerialNumber) == 0 && bytes.Equal(s.Issuer.FullBytes, c.RawIssuer)
}

// Context0 wraps content with the tag [0].
func Context0(content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: content}
}
