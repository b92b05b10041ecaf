package payload

import (
	"context"
	"crypto/rsa"
	"fmt"

	"github.com/flatcar/oem-sysext/oem/host/digest"
)

// signatureVersion is the version of a single signature. update_engine looks at no other one.
const signatureVersion = 2

// Signer makes signatures: RSA PKCS #1 v1.5 over a SHA-256 digest.
type Signer interface {
	Public() *rsa.PublicKey
	// Sign returns the signature of a digest. The name says what is signed, for people.
	Sign(ctx context.Context, name string, d digest.SHA256) ([]byte, error)
}

// signaturesSize is how long the message with the signatures is, in bytes.
func signaturesSize(key *rsa.PublicKey) int { return len(encodeSignatures(make([]byte, key.Size()))) }

// Signatures returns what belongs behind a body that Write wrote for the signer's key: the signature of its digest.
func Signatures(ctx context.Context, s Signer, name string, body digest.SHA256) ([]byte, error) {
	signature, err := s.Sign(ctx, name, body)
	if err != nil {
		return nil, err
	}
	if len(signature) != s.Public().Size() {
		return nil, fmt.Errorf("signature of %s has %d B; wanted %d B, as the key has", name, len(signature), s.Public().Size())
	}
	return encodeSignatures(signature), nil
}
